package deliver

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// point is one sample as a receiver sees it.
type point struct {
	at   int64
	bits uint64
}

// storage is a receiver that takes what Prometheus takes: of a series, what is newer than its newest sample, and that
// sample again. It refuses a 1.0 request whole if there is anything else in it, and takes the rest of a 2.0 request.
type storage struct {
	t       *testing.T
	bad     map[string]string // words against series, by metric name
	from    int64             // older samples are out of bounds
	maxBody int               // bytes; 0: no limit
	flaky   bool              // two of three requests fail with 503
	whim    func() int        // status instead of all else; 0: none

	posts   int
	single  int // posts of one sample
	newest  map[string]point
	arrived map[string][]point // in order of arrival
}

func (s *storage) Close() {}

func (s *storage) Post(ctx context.Context, body []byte, p wire.Protocol, _ int) Answer {
	s.posts++
	pause(ctx, time.Millisecond, nil, nil)
	if s.flaky && s.posts%3 != 0 {
		return answerOf(503)
	}
	if s.whim != nil {
		if code := s.whim(); code != 0 {
			return answerOf(code)
		}
	}
	got, ok := s.read(body, p)
	if len(got) == 1 {
		s.single++
	}
	if s.maxBody > 0 && len(body) > s.maxBody {
		return answerOf(413)
	}
	if !ok {
		return Answer{Status: 400, Header: http.Header{}, Message: "malformed"}
	}
	newest, words, written := maps.Clone(s.newest), "", 0
	var taken []sampleOf
	for _, x := range got {
		if against := s.against(newest, x); against != "" {
			if words == "" {
				words = against
			}
			continue
		}
		written++
		if newest[x.series] != x.point {
			taken = append(taken, x)
		}
		newest[x.series] = x.point
	}
	a := answerOf(204)
	if words != "" {
		a.Status, a.Message = 400, words
	}
	if p == wire.V1 && words != "" {
		return a // rolled back
	}
	if p == wire.V2 {
		a.Header.Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(written))
	}
	s.newest = newest
	for _, x := range taken {
		s.arrived[x.series] = append(s.arrived[x.series], x.point)
	}
	return a
}

// against returns what the storage says against a sample; "": it takes it.
func (s *storage) against(newest map[string]point, x sampleOf) string {
	last, known := newest[x.series]
	switch {
	case s.bad[x.name] != "":
		return s.bad[x.name]
	case x.at < s.from:
		return "out of bounds"
	case !known || x.at > last.at || x.point == last:
		return ""
	case x.at == last.at:
		return "duplicate sample for timestamp"
	}
	return "out of order sample"
}

type sampleOf struct {
	series, name string
	point
}

func (s *storage) read(body []byte, p wire.Protocol) (out []sampleOf, ok bool) {
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		s.t.Error(err)
	}
	seen := map[string]bool{}
	var b labels.ScratchBuilder
	add := func(key string, ls labels.Labels, at int64, bits uint64) {
		out = append(out, sampleOf{key, ls.Get("__name__"), point{at, bits}})
	}
	once := func(ls labels.Labels, addSamples func(key string)) {
		key := ls.String()
		if seen[key] {
			s.t.Errorf("%s stands twice in a request", key)
		}
		seen[key] = true
		addSamples(key)
	}
	if p == wire.V1 {
		var req prompb.WriteRequest
		if req.Unmarshal(plain) != nil {
			return nil, false
		}
		for _, ts := range req.Timeseries {
			ls := ts.ToLabels(&b, nil)
			once(ls, func(key string) {
				for _, x := range ts.Samples {
					add(key, ls, x.Timestamp, math.Float64bits(x.Value))
				}
				for _, h := range ts.Histograms {
					add(key, ls, h.Timestamp, h.GetCountInt())
				}
			})
		}
		return out, true
	}
	var req writev2.Request
	if req.Unmarshal(plain) != nil {
		return nil, false
	}
	for _, ts := range req.Timeseries {
		ls, err := ts.ToLabels(&b, req.Symbols)
		if err != nil {
			return nil, false
		}
		once(ls, func(key string) {
			for _, x := range ts.Samples {
				add(key, ls, x.Timestamp, math.Float64bits(x.Value))
			}
			for _, h := range ts.Histograms {
				add(key, ls, h.Timestamp, h.GetCountInt())
			}
		})
	}
	return out, true
}

// groups is a lane that gives requests in groups of up to n.
type groups struct {
	requests []queue.Request
	n        int
}

func (l *groups) Next(bool) ([]queue.Request, queue.State, time.Duration) {
	if len(l.requests) == 0 {
		return nil, queue.Empty, 0
	}
	return l.requests[:min(l.n, len(l.requests))], queue.Ready, 0
}

func (l *groups) Ack(group []queue.Request) { l.requests = l.requests[len(group):] }
func (l *groups) Wake() <-chan struct{}     { return nil }

// The fake clock of synctest begins at lastScrape.
var lastScrape = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

const scrapeInterval = 15_000 // milliseconds

// backlog is scrapes of series metric_0, metric_1 and so on, the last one at lastScrape. Series 2 ends with a staleness
// marker as its third sample, series 3 begins after that, series 4 has native histograms.
func backlog(t *testing.T, scrapes, series int) (out []queue.Request) {
	t.Helper()
	for k := range scrapes {
		at := lastScrape - int64(scrapes-1-k)*scrapeInterval
		table := writev2.NewSymbolTable()
		var req writev2.Request
		for i := range series {
			if i == 2 && k > 2 || i == 3 && k < 3 {
				continue
			}
			ts := writev2.TimeSeries{LabelsRefs: table.SymbolizeLabels(labels.FromStrings("__name__",
				fmt.Sprint("metric_", i), "job", "envoy"), nil)}
			switch v := float64(1000*i + k); {
			case i == 4:
				ts.Histograms = []writev2.Histogram{{Count: &writev2.Histogram_CountInt{CountInt: uint64(v)},
					ZeroCount: &writev2.Histogram_ZeroCountInt{}, Timestamp: at}}
			case i == 2 && k == 2:
				ts.Samples = []writev2.Sample{{Value: math.Float64frombits(value.StaleNaN), Timestamp: at}}
			default:
				ts.Samples = []writev2.Sample{{Value: v, Timestamp: at}}
			}
			req.Timeseries = append(req.Timeseries, ts)
		}
		symbols, err := (&writev2.Request{Symbols: table.Symbols()}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		body, err := req.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, queue.Request{Records: []queue.Record{{Data: fragmentOf(symbols, body)}},
			Samples: len(req.Timeseries), Oldest: at, Newest: at})
	}
	return out
}

// fates is what a sender reported, added up.
type fates struct {
	accepted, delivered, refused, unsupported, done int
	dropped                                         map[Reason]int
}

func (f *fates) add(x Fate) {
	f.accepted += x.Accepted
	f.delivered += x.Delivered
	f.refused += x.Refused
	f.unsupported += x.Unsupported
	f.done += x.Done
	if x.Dropped > 0 {
		f.dropped[x.Reason] += x.Dropped
	}
}

func (f *fates) settled() (n int) {
	for _, dropped := range f.dropped {
		n += dropped
	}
	return n + f.accepted + f.delivered + f.refused + f.unsupported
}

// TestGroups delivers ten scrapes to receivers of all kinds, in groups of one, two and five: the receiver gets the
// same samples in the same order, and each sample has the same fate.
func TestGroups(t *testing.T) {
	const scrapes, series = 10, 60
	all := func(from, to int, p point) func(*storage) {
		return func(s *storage) {
			for i := from; i < to; i++ {
				s.newest[fmt.Sprintf(`{__name__="metric_%d", job="envoy"}`, i)] = p
			}
		}
	}
	at := func(scrape int) int64 { return lastScrape - int64(scrapes-1-scrape)*scrapeInterval }
	for name, tc := range map[string]struct {
		receiver func(*storage)
		settings func(*Settings)
		requests func([]queue.Request)
		posts    int // for each group; 0: not checked
	}{
		"good":          {posts: 1},
		"flaky":         {receiver: func(s *storage) { s.flaky = true }},
		"no histograms": {settings: func(s *Settings) { s.SendNativeHistograms = false }, posts: 1},
		"bad labels": {receiver: func(s *storage) {
			s.bad = map[string]string{"metric_7": "label value too long"}
		}},
		"bad histograms":  {receiver: badMetrics("metric_4")},
		"five bad series": {receiver: badMetrics("metric_1", "metric_3", "metric_9", "metric_10", "metric_59")},
		"late sample of one series": {receiver: func(s *storage) {
			all(8, 9, point{at: at(1)})(s)
		}},
		"late samples of one series, up to the middle of a group": {receiver: func(s *storage) {
			all(8, 9, point{at: at(7)})(s)
		}},
		"late scrape": {receiver: func(s *storage) {
			all(0, 6, point{at: at(1)})(s)
		}},
		"scrapes out of bounds":   {receiver: func(s *storage) { s.from = at(3) }},
		"samples over the age":    {settings: func(s *Settings) { s.QueueConfig.SampleAgeLimit = 100_000_000_000 }},
		"too large":               {receiver: func(s *storage) { s.maxBody = 500 }},
		"too large for a series":  {receiver: func(s *storage) { s.maxBody = 70 }},
		"too large for a sample":  {receiver: func(s *storage) { s.maxBody = 10 }},
		"too large, and bad ones": {receiver: func(s *storage) { s.maxBody = 500; badMetrics("metric_20")(s) }},
		"few samples per send":    {settings: func(s *Settings) { s.QueueConfig.MaxSamplesPerSend = 60 }},
		"a sample per send":       {settings: func(s *Settings) { s.QueueConfig.MaxSamplesPerSend = 1 }},
		"a damaged request": {requests: func(rs []queue.Request) {
			rs[3].Records[0].Data = fragmentOf([]byte{0x22, 0}, []byte{0x2a, 4, 0x0a, 2, 7, 7})
		}},
		"may have arrived, and has not": {requests: mayHaveArrived},
		"may have arrived, and has": {requests: mayHaveArrived, receiver: func(s *storage) {
			all(0, series, point{at: at(4), bits: 1})(s)
		}},
		"may have arrived, and some have": {requests: mayHaveArrived, receiver: func(s *storage) {
			all(0, series, point{at: at(2), bits: 1})(s)
		}},
		"may have arrived, and some series are bad": {requests: mayHaveArrived,
			receiver: badMetrics("metric_1", "metric_30", "metric_31")},
	} {
		for _, p := range []wire.Protocol{wire.V1, wire.V2} {
			t.Run(fmt.Sprint(name, " ", p), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					run := func(n int) (*storage, fates) {
						requests := backlog(t, scrapes, series)
						total := 0
						for _, r := range requests {
							total += r.Samples
						}
						if tc.requests != nil {
							tc.requests(requests)
						}
						s := &storage{t: t, newest: map[string]point{}, arrived: map[string][]point{}}
						if tc.receiver != nil {
							tc.receiver(s)
						}
						r := newTestReceiver(s.Post, p)
						settings := *r.settings
						rw := *settings.RemoteWriteConfig
						settings.RemoteWriteConfig = &rw
						settings.SendNativeHistograms = true
						if tc.settings != nil {
							tc.settings(&settings)
						}
						r.Replace(&settings)
						sum := fates{dropped: map[Reason]int{}}
						began := time.Now()
						r.NewSender(anyRandom(), &groups{requests, n}, sum.add).Run(t.Context(), nil)
						if sum.done != total || sum.settled() != total {
							t.Errorf("groups of %d: done %d, settled %d, want %d", n, sum.done, sum.settled(), total)
						}
						for of, points := range s.arrived {
							if !slices.IsSortedFunc(points, func(a, b point) int { return int(a.at - b.at) }) {
								t.Errorf("groups of %d: %s arrived in the order %v", n, of, points)
							}
						}
						t.Logf("groups of %d: %d posts, %d of one sample, %v: %+v", n, s.posts, s.single,
							time.Since(began), sum)
						return s, sum
					}
					wantStorage, want := run(1)
					for _, n := range []int{2, 5} {
						s, got := run(n)
						if tc.posts > 0 && s.posts != tc.posts*scrapes/n {
							t.Errorf("groups of %d: %d posts, want %d", n, s.posts, tc.posts*scrapes/n)
						}
						if fmt.Sprint(got) != fmt.Sprint(want) {
							t.Errorf("groups of %d: %+v\nalone: %+v", n, got, want)
						}
						if !maps.EqualFunc(s.arrived, wantStorage.arrived, slices.Equal) {
							for of, points := range wantStorage.arrived {
								if got := s.arrived[of]; !slices.Equal(got, points) {
									t.Errorf("groups of %d: %s arrived as %v, alone as %v", n, of, got, points)
								}
							}
						}
					}
				})
			})
		}
	}
}

// TestInterruptedGroup: a stop between two messages of a group leaves the whole group in the lane.
func TestInterruptedGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const scrapes, series = 3, 10
		s := &storage{t: t, newest: map[string]point{}, arrived: map[string][]point{}}
		ctx, cancel := context.WithCancel(t.Context())
		r := newTestReceiver(func(_ context.Context, body []byte, p wire.Protocol, attempt int) Answer {
			if s.posts == 1 {
				cancel()
				return Answer{Err: ctx.Err()}
			}
			return s.Post(ctx, body, p, attempt)
		}, wire.V2)
		rw := *r.settings.RemoteWriteConfig
		rw.QueueConfig.MaxSamplesPerSend = 15 // half of the group
		r.Replace(&Settings{RemoteWriteConfig: &rw, Client: r.settings.Client})
		lane := &groups{backlog(t, scrapes, series), scrapes}
		sum := fates{dropped: map[Reason]int{}}
		r.NewSender(anyRandom(), lane, sum.add).Run(ctx, nil)
		if len(lane.requests) != scrapes || sum.done != 0 || sum.accepted == 0 {
			t.Errorf("%d requests left, %+v; want all, and some samples accepted", len(lane.requests), sum)
		}
		for i := range lane.requests { // as the queue does after a start
			lane.requests[i].MayHaveArrived = true
		}
		s.posts = 2
		total := fates{dropped: map[Reason]int{}}
		r.NewSender(anyRandom(), lane, total.add).Run(t.Context(), nil)
		arrived := 0
		for _, points := range s.arrived {
			arrived += len(points)
		}
		if total.refused > 0 || total.delivered == 0 || total.settled() != total.done || arrived != total.done {
			t.Errorf("%d samples arrived, then %+v; want all, and some already delivered", arrived, total)
		}
	})
}

// TestLimitFollowsTheScrapes: without a written max_samples_per_send, a message has a number of series, whatever the
// number of their samples. The scrapes of a single one are left as they are packed.
func TestLimitFollowsTheScrapes(t *testing.T) {
	const series = 100
	for _, c := range []struct{ scrapes, limit, perSend, posts int }{
		{8, 200, 0, 4}, // 800 samples
		{8, 200, 100, 1},
		{8, 200, 50, 2},
		{3, 200, 75, 2},
		{1, 200, 50, 1},
	} {
		s := &storage{t: t, newest: map[string]point{}, arrived: map[string][]point{}}
		r := newTestReceiver(s.Post, wire.V2)
		rw := *r.settings.RemoteWriteConfig
		rw.QueueConfig.MaxSamplesPerSend = c.limit
		r.Replace(&Settings{RemoteWriteConfig: &rw, SeriesPerSend: c.perSend, Client: r.settings.Client})
		sum := fates{dropped: map[Reason]int{}}
		r.NewSender(anyRandom(), &groups{backlog(t, c.scrapes, series), c.scrapes}, sum.add).Run(t.Context(), nil)
		if s.posts != c.posts || sum.accepted != sum.done {
			t.Errorf("%+v: %d POSTs, %+v", c, s.posts, sum)
		}
	}
}

// TestEveryFateOfGroupsIsCounted holds the law of delivery against receivers that answer at random: each sample of a
// group arrived, or was delivered before, or is counted under one reason, and no series comes out of order.
func TestEveryFateOfGroupsIsCounted(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			s := &storage{t: t, newest: map[string]point{}, arrived: map[string][]point{}, bad: map[string]string{}}
			words := []string{"something bad", "out of order sample", "duplicate sample", "label value too long"}
			for range random.IntN(12) {
				s.bad[fmt.Sprint("metric_", random.IntN(40))] = words[random.IntN(len(words))]
			}
			if random.IntN(2) == 0 {
				s.maxBody = 40 + random.IntN(800)
			}
			if random.IntN(2) == 0 {
				s.from = lastScrape - int64(random.IntN(12))*scrapeInterval
			}
			if random.IntN(3) == 0 {
				for i := range 40 {
					s.newest[fmt.Sprintf(`{__name__="metric_%d", job="envoy"}`, i)] =
						point{at: lastScrape - int64(random.IntN(14))*scrapeInterval, bits: 1}
				}
			}
			whims := []int{503, 429, 401, 413, 400, 409}
			often := []int{0, 5, 30}[random.IntN(3)]
			s.whim = func() int {
				if often == 0 || random.IntN(often) > 0 {
					return 0
				}
				return whims[random.IntN(len(whims))]
			}
			p := wire.Protocol(1 + random.IntN(2))
			r := newTestReceiver(s.Post, p)
			rw := *r.settings.RemoteWriteConfig
			rw.SendNativeHistograms = random.IntN(2) == 0
			rw.QueueConfig.MaxSamplesPerSend = 1 + random.IntN(300)
			r.Replace(&Settings{RemoteWriteConfig: &rw, Client: r.settings.Client})
			requests := backlog(t, 12, 40)
			total := 0
			for i := range requests {
				total += requests[i].Samples
				requests[i].MayHaveArrived = i < random.IntN(6)
			}
			sum := fates{dropped: map[Reason]int{}}
			r.NewSender(anyRandom(), &groups{requests, 1 + random.IntN(8)}, sum.add).Run(t.Context(), nil)
			if sum.done != total || sum.settled() != total {
				t.Errorf("done %d, settled %d, want %d: %+v", sum.done, sum.settled(), total, sum)
			}
			arrived := 0
			for of, points := range s.arrived {
				arrived += len(points)
				for i := 1; i < len(points); i++ {
					if points[i].at <= points[i-1].at {
						t.Errorf("%s arrived in the order %v", of, points)
					}
				}
			}
			if arrived != sum.accepted {
				t.Errorf("%d samples arrived, %d are counted as accepted", arrived, sum.accepted)
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func badMetrics(names ...string) func(*storage) {
	return func(s *storage) {
		s.bad = map[string]string{}
		for _, n := range names {
			s.bad[n] = "something bad"
		}
	}
}

// mayHaveArrived marks the requests that a group of five has in flight.
func mayHaveArrived(requests []queue.Request) {
	for i := range 5 {
		requests[i].MayHaveArrived = true
	}
}
