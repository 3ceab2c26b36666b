package deliver

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// drawnGroups is a lane that gives groups of requests of several streams.
type drawnGroups struct{ groups [][]queue.Request }

func (l *drawnGroups) Next(bool) ([]queue.Request, queue.State, time.Duration) {
	if len(l.groups) == 0 {
		return nil, queue.Empty, 0
	}
	return l.groups[0], queue.Ready, 0
}

func (l *drawnGroups) Ack([]queue.Request)   { l.groups = l.groups[1:] }
func (l *drawnGroups) Wake() <-chan struct{} { return nil }

// scrapeOf is one scrape of a page with a number of series, as a column or as a fragment.
func scrapeOf(t *testing.T, stream uint64, series int, at int64, layout *queue.Layout, damaged bool) queue.Request {
	r := queue.Request{Stream: stream, Samples: series, Oldest: at, Newest: at}
	if layout != nil {
		values := make([]float64, series)
		for i := range values {
			values[i] = float64(at + int64(i))
		}
		data := wire.AppendColumn(nil, at, values)
		if damaged {
			data = data[:1]
		}
		r.Records = []queue.Record{{Data: data, Layout: layout}}
		return r
	}
	symbols, body := pageOf(t, stream, series, at)
	if damaged {
		body = body[:len(body)-1]
	}
	r.Records = []queue.Record{{Data: fragmentOf(symbols, body)}}
	return r
}

// columnBacklog is scrapes of a page of stream 1 as columns, the last one at lastScrape.
func columnBacklog(t *testing.T, scrapes, series int) (out []queue.Request) {
	t.Helper()
	layout := layoutOf(t, 1, series)
	for k := range scrapes {
		out = append(out, scrapeOf(t, 1, series, lastScrape-int64(scrapes-1-k)*scrapeInterval, layout, false))
	}
	return out
}

// layoutOf writes the layout of a page. Each of its rows has a shape of its own (255), no label of the row before, and
// two labels: their names, then their values.
func layoutOf(t *testing.T, stream uint64, size int) *queue.Layout {
	symbols, body := pageOf(t, stream, size, 0)
	n := 0
	for rest := symbols; len(rest) > 0; n++ {
		rest = rest[2+int(rest[1]):]
	}
	rows := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(n)), uint64(size))
	rows = binary.AppendUvarint(rows, uint64(len(body)))
	for refs := body; len(refs) > 0; refs = refs[4:] {
		refs = refs[4:] // tags and lengths
		rows = append(rows, 255, 0, 0, 2<<2, refs[0], refs[2], refs[1], refs[3])
	}
	head := snappy.Encode(nil, symbols)
	return &queue.Layout{Data: append(binary.AppendUvarint(nil, uint64(len(head))), head...), Shared: string(rows)}
}

// layoutOfBefore writes the layout of a page as a version of before did.
func layoutOfBefore(t *testing.T, stream uint64, size int) *queue.Layout {
	symbols, body := pageOf(t, stream, size, 0)
	return &queue.Layout{Data: fragmentOf(symbols, body), Packed: true}
}

// pageOf writes the symbols and the series of a page; at 0: without samples.
func pageOf(t *testing.T, stream uint64, series int, at int64) (symbols, body []byte) {
	table := writev2.NewSymbolTable()
	var req writev2.Request
	for i := range series {
		ts := writev2.TimeSeries{LabelsRefs: table.SymbolizeLabels(labels.FromStrings("__name__",
			fmt.Sprint("metric_", i), "job", fmt.Sprint(stream)), nil)}
		if at != 0 {
			ts.Samples = []writev2.Sample{{Value: float64(at + int64(i)), Timestamp: at}}
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	symbols, err := (&writev2.Request{Symbols: table.Symbols()}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if at != 0 {
		body, err = req.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return symbols, body
	}
	// A TimeSeries of writev2 always has the field metadata, which may be empty: such a field is left out.
	for _, ts := range req.Timeseries {
		var refs []byte
		for _, ref := range ts.LabelsRefs {
			refs = append(refs, byte(ref))
			if ref >= 0x80 {
				t.Fatal("too many symbols")
			}
		}
		fields := append([]byte{0x0a, byte(len(refs))}, refs...)
		body = append(append(body, 0x2a, byte(len(fields))), fields...)
	}
	return symbols, body
}

// TestGroupsOfSeveralStreams delivers groups of pages of all sizes, as columns and as fragments, some of them damaged:
// each sample arrives once and in order, or is counted as damaged.
func TestGroupsOfSeveralStreams(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			most := 20
			lane, at, total, broken := &drawnGroups{}, lastScrape, 0, 0
			layouts := map[string]*queue.Layout{}
			for range 1 + rnd.IntN(4) {
				var group []queue.Request
				first := uint64(rnd.IntN(3))
				for stream := first; stream < first+1+uint64(rnd.IntN(4)); stream++ {
					scrapes := 1 + rnd.IntN(5)
					if stream == 0 {
						scrapes = 1
					}
					series := 1 + rnd.IntN(25)
					for range scrapes {
						if rnd.IntN(6) == 0 {
							series = 1 + rnd.IntN(25)
						}
						at++
						var layout *queue.Layout
						if stream > 0 && rnd.IntN(3) > 0 {
							key := fmt.Sprint(stream, " ", series)
							if layout = layouts[key]; layout == nil {
								of := layoutOf
								if rnd.IntN(5) == 0 {
									of = layoutOfBefore
								}
								layout = of(t, stream, series)
								layouts[key] = layout
							}
						}
						damaged := rnd.IntN(25) == 0
						group = append(group, scrapeOf(t, stream, series, at, layout, damaged))
						if total += series; damaged {
							broken += series
						}
					}
					if stream == 0 {
						break
					}
				}
				lane.groups = append(lane.groups, group)
			}
			s := &storage{t: t, newest: map[string]point{}, arrived: map[string][]point{}}
			s.flaky = rnd.IntN(3) == 0
			ctx, cancel := context.WithCancel(t.Context())
			stopAt := rnd.IntN(12)
			posts := 0
			post := func(c context.Context, body []byte, p wire.Protocol, n int) Answer {
				if posts++; posts == stopAt {
					cancel()
					return Answer{Err: context.Canceled}
				}
				return s.Post(c, body, p, n)
			}
			p := wire.V1
			if rnd.IntN(2) == 0 {
				p = wire.V2
			}
			r := newTestReceiver(post, p)
			rw := *r.settings.RemoteWriteConfig
			rw.QueueConfig.MaxSamplesPerSend = most
			r.Replace(&Settings{RemoteWriteConfig: &rw, Client: r.settings.Client})
			sum := fates{dropped: map[Reason]int{}}
			sender := r.NewSender(anyRandom(), lane, sum.add)
			sender.Run(ctx, nil)
			if ctx.Err() != nil && len(lane.groups) > 0 {
				for i := range lane.groups[0] {
					lane.groups[0][i].MayHaveArrived = true
				}
				left := 0
				for _, group := range lane.groups {
					for _, r := range group {
						left += r.Samples
					}
				}
				sum = fates{dropped: map[Reason]int{}, done: total - left}
				r.NewSender(anyRandom(), lane, sum.add).Run(t.Context(), nil)
				if got := sum.settled(); got != left {
					t.Errorf("seed %d: %d samples settled after the stop, want %d: %+v", seed, got, left, sum)
				}
			} else if sum.settled() != total || sum.dropped[Damaged]+sum.refused != broken {
				t.Errorf("seed %d: settled %d, want %d; %d damaged, %d refused, want %d", seed, sum.settled(), total,
					sum.dropped[Damaged], sum.refused, broken) // a 2.0 receiver refuses what is damaged
			}
			cancel()
			if sum.done != total || sum.refused > broken {
				t.Errorf("seed %d: %+v, want %d done", seed, sum, total)
			}
			arrived := 0
			for of, points := range s.arrived {
				arrived += len(points)
				if !slices.IsSortedFunc(points, func(a, b point) int { return int(a.at - b.at) }) {
					t.Errorf("seed %d: %s arrived in the order %v", seed, of, points)
				}
			}
			if arrived != total-broken {
				t.Errorf("seed %d: %d samples arrived, want %d", seed, arrived, total-broken)
			}
		})
	}
}

// TestFragmentsOfPagesAreSentApart: a stream whose page changes has fragments of whole pages among its columns. They
// are not merged, unless fragments are small.
func TestFragmentsOfPagesAreSentApart(t *testing.T) {
	const page = 60 // series
	for kinds, posts := range map[string]int{
		"C C C": 1, "F C C": 2, "C C F": 2, "C F C": 3, "C F F C": 3, "F": 1,
		"f C C": 1, "C f C f": 1, "F C f": 1, // f: a fragment of a few series
		"C H C H C H": 1, // H: one of many series, at each scrape
	} {
		for _, p := range []wire.Protocol{wire.V1, wire.V2} {
			s := &storage{t: t, newest: map[string]point{}, arrived: map[string][]point{}}
			r := newTestReceiver(s.Post, p)
			rw := *r.settings.RemoteWriteConfig
			rw.QueueConfig.MaxSamplesPerSend = 2 * enoughForPost
			r.Replace(&Settings{RemoteWriteConfig: &rw, Client: r.settings.Client})
			group, layout, total := []queue.Request(nil), layoutOf(t, 1, page), 0
			for i, kind := range strings.Fields(kinds) {
				size, of := page, layout
				switch kind {
				case "F":
					size, of = enoughForPost, nil
				case "f":
					size, of = 5, nil
				case "H":
					size, of = enoughForPost/2+100, nil
				}
				total += size
				group = append(group, scrapeOf(t, 1, size, lastScrape+int64(i), of, false))
			}
			sum := fates{dropped: map[Reason]int{}}
			r.NewSender(anyRandom(), &drawnGroups{[][]queue.Request{group}}, sum.add).Run(t.Context(), nil)
			if s.posts != posts || sum.accepted != total {
				t.Errorf("%s, %s: %d POSTs with %d samples, want %d with %d", kinds, p, s.posts, sum.accepted, posts,
					total)
			}
		}
	}
}

// TestNoBodyWaitsThroughAnOutage: of the messages that are made as 1.0 at once, only the first has a POST before the
// receiver fails. The bodies of the others are made again when it is back.
func TestNoBodyWaitsThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &storage{t: t, newest: map[string]point{}, arrived: map[string][]point{}}
		var sender *Sender
		var waiting []int // by POST: messages behind, with a body
		r := newTestReceiver(func(ctx context.Context, body []byte, p wire.Protocol, n int) Answer {
			bodies := 0
			for _, m := range sender.behind {
				if !reflect.ValueOf(m).FieldByName("joined").Elem().FieldByName("body").IsNil() {
					bodies++
				}
			}
			if waiting = append(waiting, bodies); len(waiting) == 1 {
				return answerOf(503)
			}
			return s.Post(ctx, body, p, n)
		}, wire.V1)
		rw := *r.settings.RemoteWriteConfig
		rw.QueueConfig.MaxSamplesPerSend = 20
		r.Replace(&Settings{RemoteWriteConfig: &rw, Client: r.settings.Client})
		sum := fates{dropped: map[Reason]int{}}
		sender = r.NewSender(anyRandom(), &drawnGroups{[][]queue.Request{columnBacklog(t, 1, 60)}}, sum.add)
		sender.Run(t.Context(), nil)
		if want := []int{2, 0, 0, 0}; !slices.Equal(waiting, want) || len(s.arrived) != 60 || sum.accepted != 60 {
			t.Errorf("bodies that wait by POST: %d, want %d; %d series arrived, %d samples accepted, want 60", waiting,
				want, len(s.arrived), sum.accepted)
		}
	})
}

// TestFragmentsOfOneScrape: a large page is several fragments. Each that fills a request is sent as it is, and small
// ones share a request. Fragments of several scrapes are merged.
func TestFragmentsOfOneScrape(t *testing.T) {
	full := testSettings().QueueConfig.MaxSamplesPerSend
	for name, tc := range map[string]struct {
		samples, at, want []int
		asTheyAre         int // the number of bodies that are the fragments' own
	}{
		"one scrape": {[]int{full, full, full / 4, full / 4}, []int{1, 1, 1, 1}, []int{full, full, full / 2},
			2},
		"a last one that is small": {[]int{full, 1}, []int{1, 1}, []int{full, 1}, 2},
		"two scrapes":              {[]int{full, full}, []int{1, 2}, []int{full, full}, 0},
	} {
		var group []queue.Request
		for i, n := range tc.samples {
			r := scrapeOf(t, 1, n, int64(tc.at[i]), nil, false)
			if tc.at[i] == tc.at[0] { // the fragments of a scrape have no series in common
				r.Records[0].Data = fragmentOf(pageOf(t, uint64(1+i), n, int64(tc.at[i])))
			}
			group = append(group, r)
		}
		own := map[string]bool{}
		for _, r := range group {
			body, _, err := new(wire.Pool).Body(messageOf(r), wire.V2, false)
			if err != nil {
				t.Fatal(err)
			}
			own[string(body)] = true
		}
		var got []int
		asTheyAre := 0
		r := newTestReceiver(func(_ context.Context, body []byte, _ wire.Protocol, _ int) Answer {
			if own[string(body)] {
				asTheyAre++
			}
			var m writev2.Request
			plain, err := snappy.Decode(nil, body)
			if err == nil {
				err = m.Unmarshal(plain)
			}
			if err != nil {
				t.Error(err)
			}
			n := 0
			for _, ts := range m.Timeseries {
				n += len(ts.Samples)
			}
			got = append(got, n)
			a := answerOf(204)
			a.Header.Set("X-Prometheus-Remote-Write-Samples-Written", fmt.Sprint(n))
			return a
		}, wire.V2)
		s := r.NewSender(anyRandom(), &drawnGroups{[][]queue.Request{group}}, func(Fate) {})
		if s.Run(t.Context(), nil); !slices.Equal(got, tc.want) || asTheyAre != tc.asTheyAre {
			t.Errorf("%s: POSTs of %d samples, %d as they are; want %d, %d", name, got, asTheyAre, tc.want,
				tc.asTheyAre)
		}
	}
}
