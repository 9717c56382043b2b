// Lint of protos/: names, numbers and comments of the contracts.
#include <cctype>
#include <fstream>
#include <set>
#include <string>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/descriptor_database.h"
#include "gtest/gtest.h"

namespace vl2 {
namespace {

namespace pb = google::protobuf;

bool IsCamelCase(const std::string& name) {
  return std::isupper(static_cast<unsigned char>(name[0])) != 0 &&
         name.find('_') == std::string::npos;
}

bool IsSnakeCase(const std::string& name) {
  for (const char c : name) {
    if (std::islower(static_cast<unsigned char>(c)) == 0 &&
        std::isdigit(static_cast<unsigned char>(c)) == 0 && c != '_') {
      return false;
    }
  }
  return name.find("__") == std::string::npos && name.front() != '_' && name.back() != '_';
}

// FinishReason -> FINISH_REASON_, DType -> DTYPE_
std::string ValuePrefix(const std::string& enum_name) {
  std::string prefix;
  bool after_lower = false;
  for (const char c : enum_name) {
    const bool upper = std::isupper(static_cast<unsigned char>(c)) != 0;
    if (upper && after_lower) prefix += '_';
    after_lower = !upper;
    prefix += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return prefix + '_';
}

template <class Descriptor>
bool HasComment(const Descriptor* descriptor) {
  pb::SourceLocation location;
  return descriptor->GetSourceLocation(&location) &&
         !(location.leading_comments + location.trailing_comments).empty();
}

void LintEnum(const pb::EnumDescriptor* type) {
  SCOPED_TRACE(type->full_name());
  EXPECT_TRUE(IsCamelCase(type->name()));
  const std::string prefix = ValuePrefix(type->name());
  EXPECT_EQ(type->value(0)->name(), prefix + "UNSPECIFIED");
  EXPECT_EQ(type->value(0)->number(), 0);
  for (int i = 0; i < type->value_count(); ++i) {
    EXPECT_TRUE(type->value(i)->name().starts_with(prefix)) << type->value(i)->name();
  }
}

// A field says what it is, in which unit and within which limits: at itself, at one before it that
// it continues, or at the message.
void LintMessage(const pb::Descriptor* message) {
  SCOPED_TRACE(message->full_name());
  EXPECT_TRUE(IsCamelCase(message->name()));
  bool documented = HasComment(message);
  std::set<int> numbers;
  for (int i = 0; i < message->reserved_range_count(); ++i) {
    const auto* range = message->reserved_range(i);
    for (int number = range->start; number < range->end; ++number) numbers.insert(number);
  }
  for (int i = 0; i < message->field_count(); ++i) {
    const pb::FieldDescriptor* field = message->field(i);
    SCOPED_TRACE(field->name());
    EXPECT_TRUE(IsSnakeCase(field->name()));
    EXPECT_TRUE(numbers.insert(field->number()).second);
    documented = documented || HasComment(field);
    const bool scalar = field->cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE;
    EXPECT_TRUE(documented || !scalar || field->containing_oneof() != nullptr) << "no comment";
    const std::string& name = field->name();
    for (const char* word : {"timeout", "duration", "latency", "interval"}) {
      EXPECT_TRUE(name.find(word) == std::string::npos || name.ends_with("_ms"))
          << "a time without its unit";
    }
  }
  // A number that is left out is one that was taken away: reserve it.
  if (!numbers.empty()) {
    EXPECT_EQ(*numbers.begin(), 1);
    EXPECT_EQ(*numbers.rbegin(), static_cast<int>(numbers.size())) << "a gap that is not reserved";
  }
  for (int i = 0; i < message->enum_type_count(); ++i) LintEnum(message->enum_type(i));
  for (int i = 0; i < message->nested_type_count(); ++i) {
    if (!message->nested_type(i)->options().map_entry()) LintMessage(message->nested_type(i));
  }
}

TEST(ProtoLint, Contracts) {
  std::ifstream in(VL2_DESCRIPTORS, std::ios::binary);
  pb::FileDescriptorSet files;
  ASSERT_TRUE(files.ParseFromIstream(&in)) << VL2_DESCRIPTORS;
  pb::SimpleDescriptorDatabase database;
  for (const auto& proto : files.file()) database.Add(proto);
  pb::DescriptorPool pool(&database);
  ASSERT_GE(files.file_size(), 4);
  std::set<std::string> services;
  for (const pb::FileDescriptorProto& proto : files.file()) {
    SCOPED_TRACE(proto.name());
    const pb::FileDescriptor* file = pool.FindFileByName(proto.name());
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(file->package(), "vl2.v1");
    EXPECT_TRUE(proto.name().starts_with("vl2/v1/"));
    EXPECT_EQ(proto.syntax(), "proto3");
    for (int i = 0; i < file->message_type_count(); ++i) LintMessage(file->message_type(i));
    for (int i = 0; i < file->enum_type_count(); ++i) LintEnum(file->enum_type(i));
    for (int i = 0; i < file->service_count(); ++i) {
      const pb::ServiceDescriptor* service = file->service(i);
      SCOPED_TRACE(service->name());
      services.insert(service->name());
      EXPECT_TRUE(service->name().ends_with("Service"));
      for (int j = 0; j < service->method_count(); ++j) {
        const pb::MethodDescriptor* method = service->method(j);
        EXPECT_TRUE(IsCamelCase(method->name())) << method->name();
        EXPECT_TRUE(HasComment(method) || method->name() == "GetModelInfo")
            << method->name() << " has no comment: what it does, which errors it gives";
      }
    }
  }
  EXPECT_EQ(services, (std::set<std::string>{"ChatService", "LanguageService", "VisionService"}));
}

}  // namespace
}  // namespace vl2
