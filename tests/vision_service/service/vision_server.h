// VisionServer: a vision service on a free loopback port, in this process, for tests; and a client
// that reads one Encode call.
//
// Owns everything, from the checkpoint to the server. Threading: as its parts.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/cpu/make_cpu_ops.h"
#include "runtime/rpc/model_info.h"
#include "runtime/rpc/server_scaffold.h"
#include "vision_service/service/vision_service.h"

namespace vl2 {

inline std::string VisionCheckpointDir() {
  return std::string(VL2_TEST_DATA) + "/golden/data/checkpoints/small_mla";
}

inline std::string TestPicture(const std::string& name = "scene_640x480.png") {
  return *ReadFile(std::string(VL2_TEST_DATA) + "/golden/data/images/" + name, size_t{1} << 24);
}

class VisionServer {
 public:
  explicit VisionServer(const VisionEngineOptions& options = {},
                        const VisionServiceOptions& service_options = {},
                        const std::vector<std::string>& lm_allow = {})
      : pool_(2) {
    checkpoint_ = *Checkpoint::Open(VisionCheckpointDir());
    processor_ = *ParseImageProcessorConfig(
        *ParseJsonFile(VisionCheckpointDir() + "/processor_config.json"));
    ops_ = MakeCpuOps(&pool_);
    encoder_ = VisionEncoder::Load(*checkpoint_, *ops_);
    engine_ = *VisionEngine::Start(options, processor_, *encoder_);
    peers_ = *PeerAllowList::Make({.entries = lm_allow});
    vision_metrics_.Watch(*engine_, *peers_);
    v1::ModelInfo info = *ReadModelInfo(VisionCheckpointDir(), "");
    info.set_model_id(*checkpoint_->ModelId());
    info.set_hidden_size(encoder_->hidden());
    service_ = std::make_unique<VisionServiceImpl>(service_options, *engine_, *peers_,
                                                   vision_metrics_, info);
    server_ = *ServerScaffold::Start({.service_name = "vision"}, {service_.get()}, port_);
    stub_ = v1::VisionService::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }
  ~VisionServer() {
    server_->Drain(0);
    engine_->Stop();
  }

  VisionEngine& engine() { return *engine_; }
  v1::VisionService::Stub& stub() { return *stub_; }
  const Metrics& metrics() const { return metrics_; }

  // Waits until nothing is queued or held.
  testing::AssertionResult BecomesIdle() const {
    VisionEngineSnapshot now;
    for (int i = 0; i < 500; ++i) {
      now = engine_->snapshot();
      if (now.num_queued_tiles == 0 && now.num_held_images == 0 && now.held_bytes == 0 &&
          now.num_encodings == 0 && now.num_waiting_headers == 0 && now.num_waiting_decodes == 0 &&
          now.decoding_bytes == 0 && now.num_clients == 0) {
        return testing::AssertionSuccess();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return testing::AssertionFailure()
           << now.num_queued_tiles << " tiles, " << now.num_held_images << " pictures, "
           << now.held_bytes << " bytes, " << now.num_encodings << " encodings, "
           << now.decoding_bytes << " bytes being decoded";
  }

 private:
  ThreadPool pool_;
  std::unique_ptr<Checkpoint> checkpoint_;
  ImageProcessorConfig processor_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<VisionEncoder> encoder_;
  MetricsPort port_;
  Metrics& metrics_ = port_.metrics();
  VisionMetrics vision_metrics_{metrics_};
  std::unique_ptr<VisionEngine> engine_;
  std::unique_ptr<PeerAllowList> peers_;
  std::unique_ptr<VisionServiceImpl> service_;
  std::unique_ptr<ServerScaffold> server_;
  std::unique_ptr<v1::VisionService::Stub> stub_;
};

// The embeddings of a picture without any service: encoder and assembler alone.
inline std::vector<float> EncodeDirectly(const std::string& bytes) {
  ThreadPool pool(2);
  const auto checkpoint = *Checkpoint::Open(VisionCheckpointDir());
  const ImageProcessorConfig config =
      *ParseImageProcessorConfig(*ParseJsonFile(VisionCheckpointDir() + "/processor_config.json"));
  const auto ops = MakeCpuOps(&pool);
  const auto encoder = VisionEncoder::Load(*checkpoint, *ops);
  TileStream stream =
      *ImagePreprocessor(config).Tiles(bytes, DecodePolicy::Serving(), Tiling::Published(true));
  TileAssembler assembler(stream.plan().tiles_wide, stream.plan().tiles_high,
                          checkpoint->config().tile_side(), encoder->image_newline(),
                          encoder->view_seperator());
  GrowingMatrix memory(ops->device());
  const Matrix out = memory.Resize(encoder->embeddings_per_tile(), encoder->hidden());
  int64_t index = 0;
  for (std::vector<Tile> part = stream.Next(); !part.empty(); part = stream.Next()) {
    for (const Tile& tile : part) {
      const uint8_t* const input = tile.data();
      encoder->Encode(std::span(&input, 1), config.normalizer().table(), out);
      assembler.AddTile(index++, out.Floats());
    }
  }
  const ConstHostMatrix rows = assembler.embeddings();
  return std::vector<float>(rows.data, rows.data + rows.rows * rows.cols);
}

// One Encode call.
class EncodeClient {
 public:
  explicit EncodeClient(VisionServer& server) : stream_(server.stub().Encode(&context_)) {}

  void SendHeader(const v1::EncodeHeader& header = {}) {
    v1::EncodeRequest request;
    *request.mutable_header() = header;
    stream_->Write(request);
  }
  void SendBytes(const std::string& bytes) {
    v1::EncodeRequest request;
    request.set_chunk(bytes);
    stream_->Write(request);
  }
  void SendEnd() {
    v1::EncodeRequest request;
    request.mutable_end_of_image();
    stream_->Write(request);
  }
  void SendStart(const v1::EncodeStart& start) {
    v1::EncodeRequest request;
    *request.mutable_start() = start;
    stream_->Write(request);
  }
  void SendPicture(const std::string& bytes, const v1::EncodeHeader& header = {}) {
    SendHeader(header);
    SendBytes(bytes);
    SendEnd();
  }
  bool Read(v1::EncodeResponse& response) { return stream_->Read(&response); }
  // Reads up to the content key.
  v1::ContentKey ReadKey() {
    v1::EncodeResponse response;
    while (Read(response)) {
      if (response.has_layout()) layout = response.layout();
      if (response.has_content_key()) return response.content_key();
    }
    return {};
  }
  // Reads up to the end of a delivery; embeddings that come are appended.
  v1::DeliveryDone ReadDone() {
    v1::EncodeResponse response;
    while (Read(response)) {
      if (response.has_done()) return response.done();
      if (!response.has_embeddings()) continue;
      const v1::Embeddings& part = response.embeddings();
      EXPECT_EQ(part.first_embedding(), next);
      next += part.num_embeddings();
      data += part.data();
    }
    return {};
  }
  grpc::Status Finish() {
    stream_->WritesDone();
    v1::EncodeResponse response;
    while (Read(response)) {
    }
    return stream_->Finish();
  }
  void Cancel() { context_.TryCancel(); }

  v1::ImageLayout layout;
  int64_t next = 0;
  std::string data;

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::EncodeRequest, v1::EncodeResponse>> stream_;
};

inline v1::EncodeStart ReturnStart(int64_t first = 0) {
  v1::EncodeStart start;
  start.set_first_embedding(first);
  start.mutable_return_to_caller();
  return start;
}

}  // namespace vl2
