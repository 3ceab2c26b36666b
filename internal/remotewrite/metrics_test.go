package remotewrite

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestMetricNames makes a renamed metric a visible diff: GOLDEN=1 rewrites the file.
func TestMetricNames(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := New(series.NewTable(), nil, Options{}, zap.NewNop(), reg)
	if err := w.Apply(Config{Endpoints: []EndpointConfig{endpointConfig("a")}}); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families {
		got.WriteString(f.GetName() + " " + strings.ToLower(f.GetType().String()) + " " + f.GetHelp() + "\n")
	}
	file := filepath.Join("testdata", "metrics.golden")
	if os.Getenv("GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("metrics are\n%s\nwant\n%s", got.String(), want)
	}
}

// metricsOf counts the series in a registry that an endpoint has, by metric.
func metricsOf(t *testing.T, reg prometheus.Gatherer, endpoint string) map[string]int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "endpoint" && l.GetValue() == endpoint {
					all[f.GetName()]++
				}
			}
		}
	}
	return all
}

// newRegisteredWorld is a world whose metrics can be gathered.
func newRegisteredWorld(t *testing.T, endpoints ...EndpointConfig) (*world, *prometheus.Registry) {
	w := newWorld(t)
	reg := prometheus.NewRegistry()
	writers := New(w.table, nil, Options{}, w.logs, reg)
	writers.newClient = w.writers.newClient
	w.writers, w.cfg.Endpoints = writers, endpoints
	w.apply()
	return w, reg
}

// TestMetricsOfARemovedEndpoint: gauges go at once, since nothing is in that state any more. Counters stay for a while,
// with what was abandoned at last, and then go, too.
func TestMetricsOfARemovedEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, reg := newRegisteredWorld(t, endpointConfig("a"), endpointConfig("b"))
		w.receivers["b"].set(unreachable)
		w.run()
		w.append(w.scrape(w.target("pod", 10), nowMillis()))
		pass(10 * time.Second)
		w.cfg.Endpoints = []EndpointConfig{endpointConfig("a")}
		w.apply()
		gauges := []string{"protocol", "highest_accepted_timestamp_seconds", "highest_appended_timestamp_seconds",
			"pending_samples",
			"pending_limit_bytes", "lanes", "lanes_desired"}
		there := metricsOf(t, reg, "b")
		for _, name := range gauges {
			if there["envoy_scraper_remotewrite_"+name] != 0 {
				t.Errorf("%s of the removed endpoint is still there", name)
			}
		}
		pass(10 * time.Minute)
		if n := w.dropped("b", abandoned); n != 10 {
			t.Errorf("abandoned = %d ten minutes later, want 10", n)
		}
		if there := metricsOf(t, reg, "b"); there["envoy_scraper_remotewrite_samples_dropped_total"] != len(reasons) {
			t.Errorf("of the removed endpoint: %v, want its counters", there)
		}
		pass(10 * time.Minute)
		if there := metricsOf(t, reg, "b"); len(there) != 0 {
			t.Errorf("of the removed endpoint: %v, want nothing", there)
		}
		there = metricsOf(t, reg, "a")
		for _, name := range append(gauges, "samples_total", "send_duration_seconds", "answers_total") {
			if there["envoy_scraper_remotewrite_"+name] == 0 {
				t.Errorf("%s of the endpoint that stays is gone", name)
			}
		}
		w.stop()
	})
}

// TestMetricsOfAnEndpointThatComesBack go on.
func TestMetricsOfAnEndpointThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, reg := newRegisteredWorld(t, endpointConfig("a"), endpointConfig("b"))
		w.run()
		w.append(w.scrape(w.target("pod", 10), nowMillis()))
		pass(10 * time.Second)
		w.cfg.Endpoints = []EndpointConfig{endpointConfig("a")}
		w.apply()
		pass(time.Minute)
		w.cfg.Endpoints = []EndpointConfig{endpointConfig("a"), endpointConfig("b")}
		w.apply()
		pass(time.Hour)
		if n := w.acceptedCount("b"); n != 10 {
			t.Errorf("accepted = %d, want 10", n)
		}
		if a, b := metricsOf(t, reg, "a"), metricsOf(t, reg, "b"); !maps.Equal(a, b) {
			t.Errorf("series of the one that came back: %v, want %v", b, a)
		}
		w.stop()
	})
}

// TestMetricsOfLanes: their number, its bounds, and how far the queue is ahead of the receiver.
func TestMetricsOfLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := endpointConfig("a")
		ec.QueueConfig.MinShards, ec.QueueConfig.MaxShards, ec.QueueConfig.MaxSamplesPerSend = 6, 9, 100
		w, reg := newRegisteredWorld(t, ec)
		w.run()
		pod := w.target("pod", 10)
		first := nowMillis()
		w.append(w.scrape(pod, first))
		pass(time.Minute)
		w.receivers["a"].set(unreachable)
		second := nowMillis()
		w.append(w.scrape(pod, second))
		pass(time.Minute)
		want := fmt.Sprintf(`
# HELP envoy_scraper_remotewrite_highest_accepted_timestamp_seconds Newest timestamp that the endpoint accepted.
# TYPE envoy_scraper_remotewrite_highest_accepted_timestamp_seconds gauge
envoy_scraper_remotewrite_highest_accepted_timestamp_seconds{endpoint="a"} %v
# HELP envoy_scraper_remotewrite_highest_appended_timestamp_seconds Newest timestamp that was appended to the queue.
# TYPE envoy_scraper_remotewrite_highest_appended_timestamp_seconds gauge
envoy_scraper_remotewrite_highest_appended_timestamp_seconds{endpoint="a"} %v
# HELP envoy_scraper_remotewrite_lanes Lanes of the endpoint: the number of concurrent requests.
# TYPE envoy_scraper_remotewrite_lanes gauge
envoy_scraper_remotewrite_lanes{endpoint="a"} 6
# HELP envoy_scraper_remotewrite_lanes_desired Lanes that the load needs, without the limits.
# TYPE envoy_scraper_remotewrite_lanes_desired gauge
envoy_scraper_remotewrite_lanes_desired{endpoint="a"} 6
# HELP envoy_scraper_remotewrite_lanes_max Largest number of lanes (max_shards).
# TYPE envoy_scraper_remotewrite_lanes_max gauge
envoy_scraper_remotewrite_lanes_max{endpoint="a"} 9
# HELP envoy_scraper_remotewrite_lanes_min Smallest number of lanes (min_shards).
# TYPE envoy_scraper_remotewrite_lanes_min gauge
envoy_scraper_remotewrite_lanes_min{endpoint="a"} 6
# HELP envoy_scraper_remotewrite_max_samples_per_send Largest number of samples in a request (max_samples_per_send).
# TYPE envoy_scraper_remotewrite_max_samples_per_send gauge
envoy_scraper_remotewrite_max_samples_per_send{endpoint="a"} 100
`, float64(first)/1000, float64(second)/1000)
		names := []string{"highest_accepted_timestamp_seconds", "highest_appended_timestamp_seconds", "lanes",
			"lanes_desired", "lanes_max",
			"lanes_min", "max_samples_per_send"}
		for i := range names {
			names[i] = "envoy_scraper_remotewrite_" + names[i]
		}
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
			t.Error(err)
		}
		w.stop()
	})
}

// TestLimitsOfAQueue are metrics of each endpoint.
func TestLimitsOfAQueue(t *testing.T) {
	store := openStore(t, t.TempDir())
	defer closeStore(t, store)
	reg := prometheus.NewRegistry()
	w := newStoredWorld(t, nil)
	writers := New(w.table, store, Options{}, w.logs, reg)
	writers.newClient = w.writers.newClient
	w.writers, w.cfg.Endpoints = writers, []EndpointConfig{endpointConfig("a")}
	w.cfg.Queue = queue.Config{MaxBytes: 1 << 21, MaxMemory: 1 << 20, MaxAge: time.Hour}
	w.apply()
	want := `
# HELP envoy_scraper_queue_age_limit_seconds Age at which queued samples are dropped (max_age); 0: never.
# TYPE envoy_scraper_queue_age_limit_seconds gauge
envoy_scraper_queue_age_limit_seconds{endpoint="a"} 3600
# HELP envoy_scraper_queue_memory_limit_bytes Limit of memory_bytes (max_memory); 4 times that while the disk is slow.
# TYPE envoy_scraper_queue_memory_limit_bytes gauge
envoy_scraper_queue_memory_limit_bytes{endpoint="a"} 1.048576e+06
# HELP envoy_scraper_remotewrite_pending_limit_bytes Size of the queue above which the oldest samples are dropped.
# TYPE envoy_scraper_remotewrite_pending_limit_bytes gauge
envoy_scraper_remotewrite_pending_limit_bytes{endpoint="a"} 2.097152e+06
`
	err := testutil.GatherAndCompare(reg, strings.NewReader(want), "envoy_scraper_queue_age_limit_seconds",
		"envoy_scraper_queue_memory_limit_bytes",
		"envoy_scraper_remotewrite_pending_limit_bytes")
	if err != nil {
		t.Error(err)
	}
	for _, e := range *writers.endpoints.Load() {
		e.retire()
	}
}
