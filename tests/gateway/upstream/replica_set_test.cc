#include "gateway/upstream/replica_set.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "gateway/upstream/language_client.h"
#include "gmock/gmock.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "vl2/v1/language.grpc.pb.h"

namespace vl2::gateway {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

// A replica on a free port that says who it is; silent while `hangs`.
class FakeReplica : public v1::LanguageService::Service {
 public:
  FakeReplica() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address = "127.0.0.1:" + std::to_string(port);
  }
  ~FakeReplica() override {
    hangs = false;
    server_->Shutdown(std::chrono::system_clock::now());
  }
  grpc::Status GetModelInfo(grpc::ServerContext* context, const v1::GetModelInfoRequest*,
                            v1::ModelInfo* info) override {
    ++num_probes;
    while (hangs && !context->IsCancelled()) std::this_thread::sleep_for(milliseconds(2));
    info->set_model_id("the model");
    info->set_device(device);
    info->set_advertised_address(address);
    info->set_state(state);
    info->set_instance_id(instance_id);
    return grpc::Status::OK;
  }
  std::string address;
  // To be set before the replica is known.
  std::string device = "cpu AVX2";
  std::string instance_id;
  std::atomic<v1::ModelInfo::State> state{v1::ModelInfo::STATE_UNSPECIFIED};
  std::atomic<bool> hangs{false};
  std::atomic<int> num_probes{0};

 private:
  std::unique_ptr<grpc::Server> server_;
};

// What a name server says, changed by the test.
class FakeResolver {
 public:
  void Say(absl::StatusOr<std::set<std::string>> addresses) {
    MutexLock lock(&mutex_);
    addresses_ = std::move(addresses);
  }
  absl::StatusOr<std::set<std::string>> Resolve() {
    while (silent) std::this_thread::sleep_for(milliseconds(2));
    MutexLock lock(&mutex_);
    ++num_asked;
    return addresses_;
  }
  std::atomic<int> num_asked{0};
  std::atomic<bool> silent{false};

 private:
  Mutex mutex_;
  absl::StatusOr<std::set<std::string>> addresses_ ABSL_GUARDED_BY(mutex_);
};

class ReplicaSetTest : public ::testing::Test {
 protected:
  void Start() {
    ReplicaSetOptions options;
    options.service = "language";
    options.targets = "language.example:50061";
    options.probe_interval = milliseconds(10);
    options.resolve_interval = milliseconds(10);
    options.probe_timeout = milliseconds(100);
    options.resolve = [this](const std::string& host, int port) {
      EXPECT_EQ(host, "language.example");
      EXPECT_EQ(port, 50061);
      return resolver_.Resolve();
    };
    set_ = *ReplicaSet::Start(options, &LanguageClient::Probe);
  }

  // Waits until the replicas that answer are these.
  testing::AssertionResult Become(const std::set<std::string>& addresses) {
    std::set<std::string> now;
    for (int i = 0; i < 2000; ++i) {
      now.clear();
      for (const auto& [address, info] : set_->infos()) now.insert(address);
      if (now == addresses) return testing::AssertionSuccess();
      std::this_thread::sleep_for(milliseconds(5));
    }
    return testing::AssertionFailure() << testing::PrintToString(now) << " answer";
  }

  // Waits until a counter has grown by so many.
  static void WaitForMore(const std::atomic<int>& counter, int more) {
    const int until = counter + more;
    while (counter < until) std::this_thread::sleep_for(milliseconds(1));
  }

  std::string PickOne() { return set_->Pick({}).value()->replica().address; }

  FakeReplica first_, second_;
  FakeResolver resolver_;
  std::unique_ptr<ReplicaSet> set_;
};

TEST_F(ReplicaSetTest, FollowsTheNameWithoutARestart) {
  resolver_.Say(std::set<std::string>{first_.address});
  Start();
  ASSERT_TRUE(Become({first_.address}));
  auto under_way = *set_->Pick({});
  resolver_.Say(std::set<std::string>{first_.address, second_.address});
  ASSERT_TRUE(Become({first_.address, second_.address}));
  EXPECT_EQ(PickOne(), second_.address) << "the other one has something to do";
  resolver_.Say(std::set<std::string>{second_.address});
  ASSERT_TRUE(Become({second_.address}));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(PickOne(), second_.address);
  // What runs at the one that was taken away goes on.
  EXPECT_EQ(set_->num_outstanding(), 1);
  EXPECT_EQ(under_way->replica().outstanding, 1);
  under_way.reset();
  EXPECT_EQ(set_->num_outstanding(), 0);
}

TEST_F(ReplicaSetTest, ANameServerThatFailsTakesNobodyAway) {
  resolver_.Say(std::set<std::string>{first_.address, second_.address});
  Start();
  ASSERT_TRUE(Become({first_.address, second_.address}));
  resolver_.Say(absl::UnavailableError("no such name"));
  WaitForMore(resolver_.num_asked, 3);
  EXPECT_EQ(set_->num_replicas(), 2);
  EXPECT_TRUE(set_->status().ok());
}

TEST_F(ReplicaSetTest, SaysWhyNobodyAnswers) {
  resolver_.Say(absl::UnavailableError("no such name"));
  Start();
  WaitForMore(resolver_.num_asked, 2);
  EXPECT_TRUE(absl::IsUnavailable(set_->Pick({.affinity = 1}).status()));
  EXPECT_THAT(set_->status().ToString(), HasSubstr("no such name"));
  // Nobody listens on port 1.
  resolver_.Say(std::set<std::string>{"127.0.0.1:1"});
  for (int i = 0; i < 1000 && set_->status().ToString().find("127.0.0.1:1:") == std::string::npos;
       ++i) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_THAT(set_->status().ToString(), HasSubstr("127.0.0.1:1:"));
  resolver_.Say(std::set<std::string>{first_.address});
  EXPECT_TRUE(Become({first_.address}));
}

TEST_F(ReplicaSetTest, OneThatHangsIsLeftForOneThatAnswers) {
  resolver_.Say(std::set<std::string>{first_.address, second_.address});
  Start();
  ASSERT_TRUE(Become({first_.address, second_.address}));
  const auto at_first = *set_->Pick({.avoid = {second_.address}});
  const auto at_second = *set_->Pick({.avoid = {first_.address}});
  std::atomic<int> first_hung = 0, second_hung = 0;
  at_first->WhenHung([&] { ++first_hung; });
  at_second->WhenHung([&] { ++second_hung; });
  first_.hangs = true;
  ASSERT_TRUE(Become({second_.address}));
  for (int i = 0; i < 1000 && first_hung == 0; ++i) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(first_hung, 1) << "told once";
  EXPECT_EQ(second_hung, 0);
  first_.hangs = false;
  EXPECT_TRUE(Become({first_.address, second_.address}));
}

TEST_F(ReplicaSetTest, OneThatIsLateAloneGoesOn) {
  resolver_.Say(std::set<std::string>{first_.address});
  Start();
  ASSERT_TRUE(Become({first_.address}));
  std::atomic<int> hung = 0;
  const auto lease = *set_->Pick({});
  lease->WhenHung([&] { ++hung; });
  first_.hangs = true;
  WaitForMore(first_.num_probes, 6);  // twice max_late_probes
  EXPECT_EQ(set_->num_replicas(), 1);
  EXPECT_EQ(hung, 0);
}

TEST_F(ReplicaSetTest, OneThatACallCouldNotReachComesBackWithAProbe) {
  resolver_.Say(std::set<std::string>{first_.address});
  Start();
  ASSERT_TRUE(Become({first_.address}));
  const auto lease = *set_->Pick({});
  first_.hangs = true;  // no probe brings it back meanwhile
  WaitForMore(first_.num_probes, 1);
  set_->ReportUnreachable(lease->replica());
  EXPECT_EQ(set_->num_replicas(), 0);
  EXPECT_TRUE(absl::IsUnavailable(set_->Pick({}).status()));
  first_.hangs = false;
  EXPECT_TRUE(Become({first_.address}));
}

TEST_F(ReplicaSetTest, OneThatDrainsIsNotPicked) {
  resolver_.Say(std::set<std::string>{first_.address, second_.address});
  Start();
  ASSERT_TRUE(Become({first_.address, second_.address}));
  second_.state = v1::ModelInfo::STATE_DRAINING;
  ASSERT_TRUE(Become({first_.address}));
  EXPECT_EQ(set_->num_replicas(ReplicaHealth::kDraining), 1);
  EXPECT_EQ(set_->num_replicas(ReplicaHealth::kGone), 0);
  first_.state = v1::ModelInfo::STATE_LOADING;
  ASSERT_TRUE(Become({}));
  EXPECT_EQ(set_->num_replicas(ReplicaHealth::kLoading), 1);
  const absl::Status none = set_->Pick({}).status();
  EXPECT_THAT(none.ToString(), HasSubstr("it is loading"));
  EXPECT_THAT(none.ToString(), HasSubstr("it is draining"));
  first_.state = v1::ModelInfo::STATE_SERVING;
  EXPECT_TRUE(Become({first_.address}));
}

TEST_F(ReplicaSetTest, OneWhoseCallSaysThatItDrainsIsNotPickedFromThen) {
  resolver_.Say(std::set<std::string>{first_.address});
  Start();
  ASSERT_TRUE(Become({first_.address}));
  const auto lease = *set_->Pick({});
  first_.hangs = true;
  WaitForMore(first_.num_probes, 1);
  set_->ReportDraining(lease->replica());
  EXPECT_EQ(set_->num_replicas(ReplicaHealth::kDraining), 1);
  EXPECT_TRUE(absl::IsUnavailable(set_->Pick({}).status()));
}

TEST_F(ReplicaSetTest, TwoAddressesOfOneProcessAreOneReplica) {
  first_.instance_id = second_.instance_id = "a process";
  resolver_.Say(std::set<std::string>{first_.address, second_.address});
  Start();
  const std::string lower = std::min(first_.address, second_.address);
  FakeReplica& other = first_.address == lower ? second_ : first_;
  WaitForMore(other.num_probes, 2);
  ASSERT_TRUE(Become({lower}));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(PickOne(), lower);
  // The other address does when this one does not answer.
  (lower == first_.address ? first_ : second_).state = v1::ModelInfo::STATE_DRAINING;
  EXPECT_TRUE(Become({other.address}));
}

TEST_F(ReplicaSetTest, PicksInsideAModelAndAPool) {
  second_.device = "NVIDIA H100";
  resolver_.Say(std::set<std::string>{first_.address, second_.address});
  Start();
  ASSERT_TRUE(Become({first_.address, second_.address}));
  const std::string pool = (*set_->Pick({.avoid = {first_.address}}))->pool();
  EXPECT_THAT(pool, HasSubstr("NVIDIA"));
  for (int i = 0; i < 4; ++i) {
    const auto lease = *set_->Pick({.pool = pool, .avoid = {second_.address}});
    EXPECT_EQ(lease->replica().address, second_.address);
  }
  EXPECT_TRUE(set_->Pick({.model_id = "the model"}).ok());
  EXPECT_THAT(set_->Pick({.model_id = "another"}).status().ToString(), HasSubstr("another"));
}

TEST_F(ReplicaSetTest, ProbesGoOnWhileTheNameServerIsSilent) {
  resolver_.Say(std::set<std::string>{first_.address, second_.address});
  Start();
  ASSERT_TRUE(Become({first_.address, second_.address}));
  resolver_.silent = true;
  second_.state = v1::ModelInfo::STATE_DRAINING;
  EXPECT_TRUE(Become({first_.address}));
  second_.state = v1::ModelInfo::STATE_SERVING;
  EXPECT_TRUE(Become({first_.address, second_.address}));
  resolver_.silent = false;
}

TEST_F(ReplicaSetTest, ReplicasOfOneInstructionSetAreOnePoolWithAnother) {
  v1::ModelInfo info;
  info.set_model_id("m");
  info.set_weight_dtype("bf16");
  info.set_device("cpu AVX2");
  const std::string pool = PoolOf(info);
  info.set_device("cpu AVX3");
  EXPECT_EQ(PoolOf(info), pool);
  info.set_weight_dtype("f32");
  EXPECT_NE(PoolOf(info), pool);
}

TEST(ReplicaSetOptionsTest, AreChecked) {
  ReplicaSetOptions options;
  options.service = "language";
  const auto probe = [](const auto&, milliseconds) { return v1::ModelInfo(); };
  EXPECT_TRUE(absl::IsInvalidArgument(ReplicaSet::Start(options, probe).status()));
  options.targets = "localhost:1";
  options.probe_timeout = milliseconds(0);
  const absl::Status status = ReplicaSet::Start(options, probe).status();
  EXPECT_THAT(status.ToString(), HasSubstr("probe_timeout of 0 ms"));
}

TEST(ReplicaSetOptionsTest, AHostsAddressesAreAllReplicas) {
  ReplicaSetOptions options;
  options.service = "language";
  options.targets = "localhost:9, 127.0.0.2:9";
  const auto set =
      *ReplicaSet::Start(options, [](const auto&, milliseconds) { return v1::ModelInfo(); });
  for (int i = 0; i < 1000 && set->num_replicas() < 2; ++i) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  const auto infos = set->infos();
  EXPECT_EQ(infos.count("127.0.0.1:9") + infos.count("[::1]:9") > 0, true);
  EXPECT_EQ(infos.count("127.0.0.2:9"), 1u);
}

}  // namespace
}  // namespace vl2::gateway
