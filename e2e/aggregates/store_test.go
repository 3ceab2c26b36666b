package aggregates

import (
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// store is the Prometheus of an agent.
type store struct {
	*receiver.Receiver
	w    *world
	api  promv1.API
	name string
	dir  string
}

// store starts a Prometheus for the agent of that name.
func (w *world) store(name string, cfg receiver.Config) *store {
	w.Helper()
	s := &store{w: w, name: name, dir: w.TempDir()}
	cfg.Bin, cfg.Protocol = w.tools, receiver.V1AndV2
	if cfg.Dir = s.dir + "/prometheus"; os.Mkdir(cfg.Dir, 0o700) != nil {
		w.Fatalf("%s is there already", cfg.Dir)
	}
	s.Receiver = parts.Prometheus(w.T, cfg)
	client, err := api.NewClient(api.Config{Address: s.URL()})
	if err != nil {
		w.Fatal(err)
	}
	s.api = promv1.NewAPI(client)
	return s
}

// figures are the results of a query, by the labels of the result. A moment at which a result has no value is NaN.
type figures map[string][]float64

// span is a time and the moments in it at which queries are evaluated: from begin on, every step.
type span struct {
	begin   time.Time
	moments int
}

// step is the time between two moments.
const step = interval

// moments returns the span from a moment after begin to a moment before end.
func moments(begin, end time.Time) span {
	begin = begin.Truncate(step).Add(step)
	return span{begin, int(end.Sub(begin)/step) + 1}
}

// end is the last moment.
func (s span) end() time.Time { return s.begin.Add(time.Duration(s.moments-1) * step) }

// query evaluates an expression at each moment.
func (s *store) query(expr string, at span) (figures, error) {
	value, _, _, err := s.api.QueryRange(s.w.Context(), expr, promv1.Range{Start: at.begin, End: at.end(), Step: step})
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", s.name, expr, err)
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("%s: %s: got a %s", s.name, expr, value.Type())
	}
	found := figures{}
	for _, stream := range matrix {
		line := slices.Repeat([]float64{math.NaN()}, at.moments)
		for _, v := range stream.Values {
			line[v.Timestamp.Time().Sub(at.begin)/step] = float64(v.Value)
		}
		found[stream.Metric.String()] = line
	}
	return found, nil
}

// mustQuery is query for expressions of these tests.
func (s *store) mustQuery(expr string, at span) figures {
	s.w.Helper()
	found, err := s.query(expr, at)
	if err != nil {
		s.w.Fatal(err)
	}
	if len(found) == 0 {
		s.w.Fatalf("%s: no data for %s", s.name, expr)
	}
	return found
}

// arrived waits until everything that was scraped before a time is stored.
func (s *store) arrived(until time.Time, metric string) {
	s.w.Helper()
	what := fmt.Sprintf("%s has what was scraped until %s", s.name, until.Format("05.000"))
	parts.Eventually(s.w.T, time.Minute, what, func() error {
		vector, err := s.Query(s.w.Context(), fmt.Sprintf("max(timestamp(%s)) > %.3f", metric,
			float64(until.Add(2*interval).UnixMilli())/1000))
		if err == nil && len(vector) == 0 {
			err = fmt.Errorf("not yet")
		}
		return err
	})
}

// median returns the median of the numbers in a line; NaN: there is none.
func median(line []float64) float64 {
	numbers := slices.DeleteFunc(slices.Clone(line), math.IsNaN)
	if len(numbers) == 0 {
		return math.NaN()
	}
	slices.Sort(numbers)
	return numbers[len(numbers)/2]
}

// mean returns the mean of the numbers in a line; NaN: there is none.
func mean(line []float64) float64 {
	numbers := slices.DeleteFunc(slices.Clone(line), math.IsNaN)
	sum := 0.0
	for _, v := range numbers {
		sum += v
	}
	return sum / float64(len(numbers))
}

// apart returns the difference of two figures, as a share of the larger one. Two that do not exist do not differ.
func apart(a, b float64) float64 {
	switch {
	case math.IsNaN(a) && math.IsNaN(b) || a == b:
		return 0
	case math.IsNaN(a) || math.IsNaN(b):
		return math.Inf(1)
	}
	return math.Abs(a-b) / max(math.Abs(a), math.Abs(b))
}
