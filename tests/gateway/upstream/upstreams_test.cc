#include "gateway/upstream/upstreams.h"

#include <memory>
#include <string>
#include <thread>

#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "vl2/v1/language.grpc.pb.h"
#include "vl2/v1/vision.grpc.pb.h"

namespace vl2::gateway {
namespace {

using std::chrono::milliseconds;

// A replica of either service that says which model it has.
template <class Service>
class FakeReplica : public Service {
 public:
  explicit FakeReplica(std::string model_id) : model_id_(std::move(model_id)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address = "127.0.0.1:" + std::to_string(port);
  }
  ~FakeReplica() override { server_->Shutdown(std::chrono::system_clock::now()); }
  grpc::Status GetModelInfo(grpc::ServerContext*, const v1::GetModelInfoRequest*,
                            v1::ModelInfo* info) override {
    info->set_model_id(model_id_);
    info->set_state(draining ? v1::ModelInfo::STATE_DRAINING : v1::ModelInfo::STATE_SERVING);
    return grpc::Status::OK;
  }
  std::string address;
  std::atomic<bool> draining{false};

 private:
  const std::string model_id_;
  std::unique_ptr<grpc::Server> server_;
};
using FakeLanguage = FakeReplica<v1::LanguageService::Service>;
using FakeVision = FakeReplica<v1::VisionService::Service>;

class UpstreamsTest : public ::testing::Test {
 protected:
  void Start(const std::string& preferred = "") {
    UpstreamOptions options;
    options.language_targets = old_language_.address + "," + new_language_.address;
    options.vision_targets = old_vision_.address + "," + new_vision_.address;
    options.model_id = preferred;
    options.probe_interval = milliseconds(10);
    upstreams_ = *Upstreams::Start(options);
  }

  // Waits until requests go to this model.
  testing::AssertionResult RequestsGoTo(const std::string& model_id, bool with_images = true) {
    absl::StatusOr<std::string> now;
    for (int i = 0; i < 1000; ++i) {
      now = upstreams_->PoolForRequest(with_images);
      if (now.ok() && *now == model_id) return testing::AssertionSuccess();
      std::this_thread::sleep_for(milliseconds(5));
    }
    return testing::AssertionFailure() << now.status() << " " << now.value_or("");
  }
  // Waits until so many replicas of the language and of the vision service serve.
  void WaitForReplicas(int num_language, int num_vision) {
    for (int i = 0; i < 1000 && (upstreams_->language_replicas().num_replicas() != num_language ||
                                 upstreams_->vision_replicas().num_replicas() != num_vision);
         ++i) {
      std::this_thread::sleep_for(milliseconds(5));
    }
  }

  FakeLanguage old_language_{"old"}, new_language_{"new"};
  FakeVision old_vision_{"old"}, new_vision_{"new"};
  std::unique_ptr<Upstreams> upstreams_;
};

TEST_F(UpstreamsTest, AnIncompleteModelChangesNothing) {
  new_vision_.draining = true;
  Start();
  ASSERT_TRUE(RequestsGoTo("old"));
  WaitForReplicas(2, 1);
  EXPECT_TRUE(RequestsGoTo("old"));
  EXPECT_FALSE(upstreams_->pools().at("new").complete());
  // A complete one beside that in use changes nothing either …
  new_vision_.draining = false;
  WaitForReplicas(2, 2);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(*upstreams_->PoolForRequest(true), "old");
  // … until that is complete no more.
  old_vision_.draining = true;
  EXPECT_TRUE(RequestsGoTo("new"));
  old_vision_.draining = false;
  WaitForReplicas(2, 2);
  EXPECT_TRUE(RequestsGoTo("new"));
}

TEST_F(UpstreamsTest, ThePreferredModelIsTakenOnceItIsComplete) {
  new_language_.draining = true;
  Start("new");
  ASSERT_TRUE(RequestsGoTo("old"));
  new_language_.draining = false;
  EXPECT_TRUE(RequestsGoTo("new"));
  new_language_.draining = true;
  EXPECT_TRUE(RequestsGoTo("old")) << "nothing is refused while any pool is complete";
}

TEST_F(UpstreamsTest, TextNeedsNoVisionService) {
  old_vision_.draining = new_vision_.draining = true;
  Start();
  WaitForReplicas(2, 0);
  EXPECT_TRUE(upstreams_->PoolForRequest(false).ok());
  EXPECT_TRUE(absl::IsUnavailable(upstreams_->PoolForRequest(true).status()));
  EXPECT_TRUE(absl::IsUnavailable(upstreams_->Ready()));
  old_language_.draining = new_language_.draining = true;
  WaitForReplicas(0, 0);
  EXPECT_TRUE(absl::IsUnavailable(upstreams_->PoolForRequest(false).status()));
}

}  // namespace
}  // namespace vl2::gateway
