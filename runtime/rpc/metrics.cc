#include "runtime/rpc/metrics.h"

#include <utility>

#include "prometheus/counter.h"
#include "prometheus/histogram.h"
#include "prometheus/metric_family.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"

namespace vl2 {

void MetricCounter::Add(double value) { counter_->Increment(value); }

void MetricHistogram::Observe(double value) { histogram_->Observe(value); }

void MetricSamples::Gauge(const std::string& name, const std::string& help, double value,
                          const MetricLabels& labels) {
  Sample& sample = samples_[name];
  sample.help = help;
  sample.values.emplace_back(labels, value);
}

void MetricSamples::Counter(const std::string& name, const std::string& help, double value,
                            const MetricLabels& labels) {
  Sample& sample = samples_[name];
  sample.help = help;
  sample.is_counter = true;
  sample.values.emplace_back(labels, value);
}

// Merge: asking for a family again gives the one that is there.
Metrics::Metrics()
    : registry_(
          std::make_unique<prometheus::Registry>(prometheus::Registry::InsertBehavior::Merge)) {}

Metrics::~Metrics() = default;

MetricCounter Metrics::Counter(const std::string& name, const std::string& help,
                               const MetricLabels& labels) {
  auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(*registry_);
  return MetricCounter(&family.Add(labels));
}

MetricHistogram Metrics::Histogram(const std::string& name, const std::string& help,
                                   const std::vector<double>& upper_bounds,
                                   const MetricLabels& labels) {
  auto& family = prometheus::BuildHistogram().Name(name).Help(help).Register(*registry_);
  return MetricHistogram(&family.Add(labels, upper_bounds));
}

void Metrics::AddSource(std::function<void(MetricSamples&)> source) {
  MutexLock lock(&mutex_);
  sources_.push_back(std::move(source));
}

std::string Metrics::Text() const {
  MetricSamples samples;
  {
    MutexLock lock(&mutex_);
    for (const auto& source : sources_) source(samples);
  }
  std::vector<prometheus::MetricFamily> families = registry_->Collect();
  for (const auto& [name, sample] : samples.samples_) {
    prometheus::MetricFamily family;
    family.name = name;
    family.help = sample.help;
    family.type =
        sample.is_counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    for (const auto& [labels, value] : sample.values) {
      prometheus::ClientMetric metric;
      for (const auto& [key, text] : labels) metric.label.push_back({key, text});
      (sample.is_counter ? metric.counter.value : metric.gauge.value) = value;
      family.metric.push_back(std::move(metric));
    }
    families.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(families);
}

std::vector<double> DecimalBounds(double first, double last) {
  std::vector<double> bounds;
  for (double decade = first;; decade *= 10) {
    for (const double step : {1.0, 2.0, 5.0}) {
      bounds.push_back(decade * step);
      if (bounds.back() >= last) return bounds;
    }
  }
}

}  // namespace vl2
