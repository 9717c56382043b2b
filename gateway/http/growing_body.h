// GrowingBody: a request's body in a string whose memory grows with what has arrived.
//
// Beast's string_body reserves what the header tells, before a byte of it is there: many clients
// that tell much and send nothing would take the address space of all.
#pragma once

#include <cstdint>
#include <string>

#include "boost/asio/buffer.hpp"
#include "boost/beast/http/error.hpp"
#include "boost/beast/http/message.hpp"
#include "boost/optional/optional.hpp"

namespace vl2::gateway {

struct GrowingBody {
  using value_type = std::string;

  static uint64_t size(const value_type& body) { return body.size(); }

  class reader {
   public:
    template <bool is_request, class Fields>
    reader(boost::beast::http::header<is_request, Fields>&, value_type& body) : body_(body) {}

    void init(const boost::optional<uint64_t>& told_bytes, boost::system::error_code& error) {
      error = {};
      told_bytes_ = told_bytes ? *told_bytes : 0;
    }

    template <class Buffers>
    size_t put(const Buffers& buffers, boost::system::error_code& error) {
      error = {};
      size_t taken = 0;
      for (auto it = boost::asio::buffer_sequence_begin(buffers);
           it != boost::asio::buffer_sequence_end(buffers); ++it) {
        const boost::asio::const_buffer buffer = *it;
        // What has come so far shows that the rest is meant.
        if (body_.size() >= kTrustedBytes && told_bytes_ > body_.capacity()) {
          body_.reserve(static_cast<size_t>(told_bytes_));
        }
        body_.append(static_cast<const char*>(buffer.data()), buffer.size());
        taken += buffer.size();
      }
      return taken;
    }

    void finish(boost::system::error_code& error) { error = {}; }

   private:
    static constexpr size_t kTrustedBytes = size_t{1} << 20;
    value_type& body_;
    uint64_t told_bytes_ = 0;
  };
};

}  // namespace vl2::gateway
