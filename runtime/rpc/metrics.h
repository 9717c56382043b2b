// Metrics: counters, histograms and values read when somebody asks, in Prometheus' text format.
//
// Names follow Prometheus' habits: vl2_<service>_<what>_<unit>, counters end in _total. Labels must
// come from small fixed sets, never from a client's text.
//
// Owns: counters and histograms, which live as long as it does. Threading: thread-safe; counters
// and histograms are updated without locks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/mutex.h"

namespace prometheus {
class Counter;
class Histogram;
class Registry;
struct MetricFamily;
}  // namespace prometheus

namespace vl2 {

using MetricLabels = std::map<std::string, std::string>;

// A value that only grows. A handle: copies count into the same metric.
class MetricCounter {
 public:
  void Add(double value = 1);  // REQUIRES: value >= 0

 private:
  friend class Metrics;
  explicit MetricCounter(prometheus::Counter* counter) : counter_(counter) {}
  prometheus::Counter* counter_;
};

// Counts values in buckets. A handle.
class MetricHistogram {
 public:
  void Observe(double value);

 private:
  friend class Metrics;
  explicit MetricHistogram(prometheus::Histogram* histogram) : histogram_(histogram) {}
  prometheus::Histogram* histogram_;
};

// Takes the values of one scrape. Samples of one name must agree in help and type.
class MetricSamples {
 public:
  void Gauge(const std::string& name, const std::string& help, double value,
             const MetricLabels& labels = {});
  // A count that is kept elsewhere.
  void Counter(const std::string& name, const std::string& help, double value,
               const MetricLabels& labels = {});

 private:
  friend class Metrics;
  struct Sample {
    std::string help;
    bool is_counter = false;
    std::vector<std::pair<MetricLabels, double>> values;
  };
  std::map<std::string, Sample> samples_;
};

class Metrics {
 public:
  Metrics();
  ~Metrics();

  // The same name and labels give the same metric.
  MetricCounter Counter(const std::string& name, const std::string& help,
                        const MetricLabels& labels = {});
  // `upper_bounds`: ascending; values above the last are counted as infinite.
  MetricHistogram Histogram(const std::string& name, const std::string& help,
                            const std::vector<double>& upper_bounds,
                            const MetricLabels& labels = {});
  // `source` is called at every scrape, from any thread, and must return soon; what it uses must
  // outlive the last scrape.
  void AddSource(std::function<void(MetricSamples&)> source);

  // Everything, in Prometheus' text format 0.0.4.
  std::string Text() const;

 private:
  const std::unique_ptr<prometheus::Registry> registry_;
  mutable Mutex mutex_;
  std::vector<std::function<void(MetricSamples&)>> sources_ ABSL_GUARDED_BY(mutex_);
};

// 1, 2, 5, 10 … from `first` to at least `last`: bounds for milliseconds and sizes.
std::vector<double> DecimalBounds(double first, double last);

}  // namespace vl2
