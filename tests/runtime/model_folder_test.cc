#include "runtime/base/model_folder.h"

#include <unistd.h>

#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

TEST(ModelNameOfFolder, IsTheFoldersOwn) {
  EXPECT_EQ(ModelNameOfFolder("/data/deepseek-vl2-tiny"), "deepseek-vl2-tiny");
  EXPECT_EQ(ModelNameOfFolder("/data/deepseek-vl2-tiny/"), "deepseek-vl2-tiny");
  EXPECT_EQ(ModelNameOfFolder("/data/deepseek-vl2-tiny//"), "deepseek-vl2-tiny");
  EXPECT_EQ(ModelNameOfFolder("/data/other/../tiny/."), "tiny");
  EXPECT_EQ(ModelNameOfFolder("models/demo"), "demo");
  EXPECT_EQ(ModelNameOfFolder("/data/snapshots/3f2a"), "3f2a");
  EXPECT_EQ(ModelNameOfFolder("/data/models--a--b/other/3f2a"), "3f2a");
}

TEST(ModelNameOfFolder, IsTheRepositorysForASnapshot) {
  const std::string cache = "/home/u/.cache/huggingface/hub/";
  EXPECT_EQ(ModelNameOfFolder(cache + "models--deepseek-ai--deepseek-vl2-tiny/snapshots/66c5"),
            "deepseek-vl2-tiny");
  EXPECT_EQ(ModelNameOfFolder(cache + "models--deepseek-ai--deepseek-vl2-tiny/snapshots/66c5/"),
            "deepseek-vl2-tiny");
  EXPECT_EQ(ModelNameOfFolder(cache + "models--gpt2/snapshots/66c5"), "gpt2");
}

TEST(ModelNameOfFolder, LooksBehindLinksAndTheWorkingFolder) {
  const fs::path root = fs::temp_directory_path() / Cat("vl2_model_folder_", getpid());
  const fs::path snapshot = root / "models--org--name" / "snapshots" / "66c5";
  fs::create_directories(snapshot);
  fs::create_directories(root / "plain");
  fs::create_directory_symlink(snapshot, root / "current");
  fs::create_directory_symlink(root / "plain", root / "link");
  EXPECT_EQ(ModelNameOfFolder(root / "current"), "name");
  EXPECT_EQ(ModelNameOfFolder(root / "current/"), "name");
  EXPECT_EQ(ModelNameOfFolder(root / "link"), "link");
  const fs::path before = fs::current_path();
  fs::current_path(snapshot);
  EXPECT_EQ(ModelNameOfFolder("."), "name");
  EXPECT_EQ(ModelNameOfFolder("./"), "name");
  EXPECT_EQ(ModelNameOfFolder("../66c5"), "name");
  fs::current_path(root / "plain");
  EXPECT_EQ(ModelNameOfFolder("."), "plain");
  EXPECT_EQ(ModelNameOfFolder(".."), root.filename().string());
  EXPECT_EQ(ModelNameOfFolder("../current"), "name");
  fs::current_path(before);
  fs::remove_all(root);
}

TEST(CheckIsNoLfsPointer, NamesFileAndCommand) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n";
  EXPECT_THAT(
      Message(CheckIsNoLfsPointer(pointer, "/m/tokenizer.json")),
      HasSubstr("/m/tokenizer.json: a git-lfs pointer in the place of the file; run `git lfs "
                "pull` in /m"));
  EXPECT_THAT(Message(CheckIsNoLfsPointer(pointer, "config.json")), HasSubstr("pull` in ."));
  EXPECT_TRUE(CheckIsNoLfsPointer("{}", "config.json").ok());
  EXPECT_TRUE(CheckIsNoLfsPointer("", "config.json").ok());
}

}  // namespace
}  // namespace vl2
