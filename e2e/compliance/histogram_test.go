package compliance

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// nativeHistogram returns a protobuf page with a native histogram and a gauge.
func nativeHistogram(t *testing.T) func(int) (string, string) {
	t.Helper()
	registry := prometheus.NewRegistry()
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Help: "h",
		NativeHistogramBucketFactor: 1.1})
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g", Help: "g"})
	registry.MustRegister(histogram, gauge)
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return func(number int) (string, string) {
		histogram.Observe(float64(number))
		gauge.Set(float64(number))
		answer := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Accept",
			"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
		handler.ServeHTTP(answer, request)
		return answer.Header().Get("Content-Type"), answer.Body.String()
	}
}
