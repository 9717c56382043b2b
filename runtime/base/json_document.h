// JsonDocument: JSON from a client, in a compact form whose memory is bounded before it is read.
//
// The text is kept and its strings are read where they stand: escapes are undone in place, nothing
// is copied. Every value and every key is one node of 24 bytes, and their number is limited, so
// that the document holds the text and at most 24 bytes · max_nodes (twice that while it grows).
// Reading takes time linear in the text, whatever the text is.
//
// Accepted is exactly RFC 8259 in valid UTF-8 (a byte order mark before it is skipped); numbers are
// limited to kMaxNumberBytes characters and to what a double can hold. Duplicate keys: the last one
// counts.
//
// Threading: immutable once parsed. Errors: INVALID_ARGUMENT naming the byte offset, never with
// more of the text than Excerpt gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vl2 {

struct JsonDocumentLimits {
  size_t max_bytes = size_t{64} << 20;  // below 4 GiB
  int max_depth = 64;
  size_t max_nodes = size_t{1} << 19;  // values and keys
};

enum class JsonKind : uint8_t {
  kNull,
  kFalse,
  kTrue,
  kInteger,   // fits int64
  kUnsigned,  // fits uint64, not int64
  kDouble,
  kString,
  kArray,
  kObject,
};

class JsonDocument;

// One value of a document, which outlives it. Cheap to copy.
class JsonView {
 public:
  JsonKind kind() const;
  // As an error message names it: "string", "a number" and so on are the caller's words.
  const char* kind_name() const;
  bool is_null() const { return kind() == JsonKind::kNull; }
  bool is_bool() const { return kind() == JsonKind::kTrue || kind() == JsonKind::kFalse; }
  bool is_number() const { return kind() >= JsonKind::kInteger && kind() <= JsonKind::kDouble; }
  bool is_string() const { return kind() == JsonKind::kString; }
  bool is_array() const { return kind() == JsonKind::kArray; }
  bool is_object() const { return kind() == JsonKind::kObject; }

  // REQUIRES: is_bool.
  bool Bool() const { return kind() == JsonKind::kTrue; }
  // REQUIRES: is_number. The nearest double.
  double Double() const;
  // The number when it is a whole one that fits (1.0 is), else nothing. REQUIRES: is_number.
  std::optional<int64_t> Int64() const;
  // REQUIRES: is_string. Valid UTF-8.
  std::string_view String() const;
  bool IsString(std::string_view text) const { return is_string() && String() == text; }

  // Elements of an array, entries of an object; 0 for anything else.
  size_t size() const;
  // The value of a key, or nothing. A value null counts as absent: clients send it for "not set".
  // Linear in the number of entries. Nothing when this is no object.
  std::optional<JsonView> Find(std::string_view key) const;

  // for (const JsonView each : array.Elements()); REQUIRES: is_array. With is_object it gives keys
  // and values in turn.
  class Iterator {
   public:
    JsonView operator*() const { return JsonView(*document_, node_); }
    Iterator& operator++();
    bool operator==(const Iterator& other) const { return node_ == other.node_; }

   private:
    friend class JsonView;
    Iterator(const JsonDocument* document, uint32_t node) : document_(document), node_(node) {}
    const JsonDocument* document_;
    uint32_t node_;
  };
  struct Range {
    Iterator first, last;
    Iterator begin() const { return first; }
    Iterator end() const { return last; }
  };
  Range Elements() const;

 private:
  friend class JsonDocument;
  JsonView(const JsonDocument& document, uint32_t node) : document_(&document), node_(node) {}

  const JsonDocument* document_;
  uint32_t node_;
};

class JsonDocument {
 public:
  static absl::StatusOr<JsonDocument> Parse(std::string text, const JsonDocumentLimits& limits);

  JsonDocument(JsonDocument&&) = default;
  JsonDocument& operator=(JsonDocument&&) = default;

  JsonView root() const { return JsonView(*this, 0); }
  size_t num_nodes() const { return nodes_.size(); }
  // Memory taken by text and nodes.
  size_t held_bytes() const { return text_.capacity() + nodes_.capacity() * sizeof(Node); }

 private:
  friend class JsonView;
  friend class JsonReader;

  struct Node {
    JsonKind kind;
    uint32_t size;  // bytes of a string; elements of an array, entries of an object
    uint32_t end;   // the node after this one and all inside it
    union {
      size_t offset;  // of a string, into text_
      int64_t integer;
      uint64_t natural;
      double real;
    };
  };
  static_assert(sizeof(Node) == 24);

  JsonDocument() = default;

  std::string text_;
  std::vector<Node> nodes_;  // a value before what is inside it
};

}  // namespace vl2
