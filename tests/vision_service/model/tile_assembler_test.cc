#include "vision_service/model/tile_assembler.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace vl2 {
namespace {

// One value per embedding: tile · 1000 + index in the tile; newline -1, separator -2.
class Assembly {
 public:
  Assembly(int64_t wide, int64_t high, int64_t side)
      : side_(side), assembler_(wide, high, side, std::vector{-1.0f}, std::vector{-2.0f}) {}

  void Add(int64_t tile) {
    std::vector<float> values;
    for (int64_t i = 0; i < side_ * side_; ++i) {
      values.push_back(static_cast<float>(1000 * tile + i));
    }
    assembler_.AddTile(tile, ConstHostMatrix(values.data(), side_ * side_, 1));
  }
  std::vector<float> Ready() const {
    const float* data = assembler_.embeddings().data;
    return {data, data + assembler_.num_ready()};
  }
  const TileAssembler& get() const { return assembler_; }

 private:
  const int64_t side_;
  TileAssembler assembler_;
};

TEST(TileAssembler, PromptOrder) {
  Assembly assembly(2, 2, 2);
  EXPECT_EQ(assembly.get().num_embeddings(), 2 * 3 + 1 + 4 * 5);
  for (int64_t tile = 0; tile < 5; ++tile) assembly.Add(tile);
  const std::vector<float> expected = {0,    1,    -1,   2,    3,  -1, -2,  // global view
                                       1000, 1001, 2000, 2001, -1,          // tile row 0
                                       1002, 1003, 2002, 2003, -1,          //
                                       3000, 3001, 4000, 4001, -1,          // tile row 1
                                       3002, 3003, 4002, 4003, -1};
  EXPECT_EQ(assembly.Ready(), expected);
  EXPECT_TRUE(assembly.get().complete());
}

TEST(TileAssembler, GrowsByWholeTileRowsInAnyOrder) {
  Assembly in_order(3, 2, 2);
  for (int64_t tile = 0; tile < 7; ++tile) in_order.Add(tile);
  Assembly assembly(3, 2, 2);
  std::vector<int64_t> ready;
  for (const int64_t tile : {4, 5, 1, 0, 3, 2, 6}) {
    assembly.Add(tile);
    ready.push_back(assembly.get().num_ready());
  }
  EXPECT_EQ(ready, (std::vector<int64_t>{0, 0, 0, 7, 7, 21, 35}));
  EXPECT_EQ(assembly.Ready(), in_order.Ready());
}

TEST(TileAssembler, PublishedSizes) {
  EXPECT_EQ(NumImageEmbeddings(1, 1, 14), 421);
  EXPECT_EQ(NumImageEmbeddings(3, 3, 14), 2017);
  EXPECT_EQ(NumImageEmbeddings(1, 9, 14), 2101);
}

TEST(TileAssemblerDeathTest, ATileOutsideThePictureIsABug) {
  Assembly assembly(1, 1, 2);
  EXPECT_DEATH(assembly.Add(2), "tile 2");
}

}  // namespace
}  // namespace vl2
