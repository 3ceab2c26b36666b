package history

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// program is the metrics that a history reads.
type program struct {
	reg               *prometheus.Registry
	samples, failures *prometheus.CounterVec
	duration          *prometheus.HistogramVec
	pending           *prometheus.GaugeVec
}

func newProgram() *program {
	reg := prometheus.NewRegistry()
	f := promauto.With(reg)
	return &program{
		reg:      reg,
		samples:  f.NewCounterVec(prometheus.CounterOpts{Name: metricOf[Samples]}, []string{"job"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{Name: metricOf[Failures]}, []string{"job", "reason"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{Name: metricOf[Duration]}, []string{"job"}),
		pending:  f.NewGaugeVec(prometheus.GaugeOpts{Name: metricOf[Backlog]}, []string{"endpoint"}),
	}
}

// run runs a history in a bubble until the test function returns.
func run(t *testing.T, p *program, test func(h *History)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := New(p.reg)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		synctest.Wait()
		test(h)
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// pass lets n intervals pass.
func pass(n int) {
	<-time.After(time.Duration(n) * Interval)
	synctest.Wait()
}

func values(h *History, q Quantity) []float64 { return h.Lines()[q].Values }

func TestLines(t *testing.T) {
	p := newProgram()
	run(t, p, func(h *History) {
		if got := values(h, Samples); len(got) != 0 {
			t.Errorf("at the start: got %v, want nothing", got)
		}
		p.samples.WithLabelValues("a").Add(300)
		p.samples.WithLabelValues("b").Add(150)
		p.failures.WithLabelValues("a", "timeout").Add(2)
		p.duration.WithLabelValues("a").Observe(0.2)
		p.duration.WithLabelValues("b").Observe(0.4)
		p.pending.WithLabelValues("x").Set(7)
		p.pending.WithLabelValues("y").Set(5)
		pass(1)
		p.pending.WithLabelValues("x").Set(0)
		pass(1)
		for _, tc := range []struct {
			name string
			q    Quantity
			want []float64
		}{
			{"samples", Samples, []float64{30, 0}},
			{"failures", Failures, []float64{8, 0}},
			{"duration", Duration, []float64{0.3, unknown}}, // nothing was scraped: there is no mean
			{"backlog", Backlog, []float64{12, 5}},
			{"bytes, which have no metric here", BytesRead, []float64{0, 0}},
		} {
			got := values(h, tc.q)
			for i, want := range tc.want {
				if len(got) != len(tc.want) || math.Abs(got[i]-want) > 1e-6 || math.IsNaN(got[i]) != math.IsNaN(want) {
					t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
					break
				}
			}
		}
	})
}

// TestARemovedJobIsNoNegativeRate: a removed job takes its counters along.
func TestARemovedJobIsNoNegativeRate(t *testing.T) {
	p := newProgram()
	p.samples.WithLabelValues("a").Add(1000)
	run(t, p, func(h *History) {
		p.samples.DeleteLabelValues("a")
		pass(1)
		if got := values(h, Samples); len(got) != 1 || !math.IsNaN(got[0]) {
			t.Errorf("got %v, want one unknown value", got)
		}
	})
}

// TestOneHour: older values go, and the memory stays.
func TestOneHour(t *testing.T) {
	p := newProgram()
	run(t, p, func(h *History) {
		for i := range Points + 10 {
			p.pending.WithLabelValues("x").Set(float64(i))
			pass(1)
		}
		got := values(h, Backlog)
		if len(got) != Points || got[0] != 10 || got[Points-1] != Points+9 {
			t.Errorf("got %d values from %v to %v, want %d from 10 to %d", len(got), got[0], got[len(got)-1], Points,
				Points+9)
		}
	})
	if n := unsafe.Sizeof(History{}); n > 64<<10 {
		t.Errorf("a history takes %d bytes, want at most 64 KiB", n)
	}
	if span := Points * Interval; span != time.Hour {
		t.Errorf("a line spans %v, want an hour", span)
	}
}

// TestASuspendedProcess: the time without readings is a gap, not a line.
func TestASuspendedProcess(t *testing.T) {
	h := New(newProgram().reg)
	begin := time.Now()
	h.note(reading{at: begin}, reading{at: begin.Add(4 * Interval), total: [quantities]float64{Samples: 600}})
	got := values(h, Samples)
	if len(got) != 4 || !math.IsNaN(got[0]) || !math.IsNaN(got[2]) || got[3] != 10 {
		t.Errorf("got %v, want a gap of three, then 10", got)
	}
}

func BenchmarkRead(b *testing.B) {
	h := New(newProgram().reg)
	for b.Loop() {
		h.read()
	}
}
