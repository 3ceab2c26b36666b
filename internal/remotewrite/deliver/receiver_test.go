package deliver

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/snappy"
	promhttp "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// testSettings are what a file with nothing but a url gives.
func testSettings() Settings {
	rw := promconfig.DefaultRemoteWriteConfig
	rw.URL = &promhttp.URL{URL: &url.URL{Scheme: "http", Host: "a.test", Path: "/api/v1/write"}}
	rw.QueueConfig.RetryOnRateLimit = true
	return Settings{RemoteWriteConfig: &rw, Negotiate: true}
}

func answerOf(code int) Answer { return Answer{Status: code, Header: http.Header{}} }

type clientFunc func(ctx context.Context, body []byte, p wire.Protocol, attempt int) Answer

func (f clientFunc) Post(ctx context.Context, body []byte, p wire.Protocol, attempt int) Answer {
	return f(ctx, body, p, attempt)
}

func (f clientFunc) Close() {}

// anyRandom is for one sender.
func anyRandom() *rand.Rand { return chance.Source{}.Rand() }

// newTestReceiver is a receiver of one protocol whose answers come from a function.
func newTestReceiver(answer clientFunc, p wire.Protocol) *Receiver {
	s := testSettings()
	s.Negotiate, s.Client = false, answer
	if p == wire.V2 {
		s.ProtobufMessage = "io.prometheus.write.v2.Request"
	}
	return NewReceiver(&s, func() (int, int64) { return 0, 0 }, zap.NewNop())
}

// fragmentOf packs a fragment: the length of the first snappy block, that of the symbols, and the block of the series.
func fragmentOf(symbols, series []byte) []byte {
	first := snappy.Encode(nil, symbols)
	return append(append(binary.AppendUvarint(nil, uint64(len(first))), first...), snappy.Encode(nil, series)...)
}

// messageWith is a message with a sample of each series, made by Prometheus' own encoder.
func messageWith(t testing.TB, all []labels.Labels) wire.Message {
	t.Helper()
	table := writev2.NewSymbolTable()
	var series writev2.Request
	for _, ls := range all {
		series.Timeseries = append(series.Timeseries, writev2.TimeSeries{
			LabelsRefs: table.SymbolizeLabels(ls, nil), Samples: []writev2.Sample{{Value: 1, Timestamp: 1}}})
	}
	symbols, err := (&writev2.Request{Symbols: table.Symbols()}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	body, err := series.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return wire.Message{Fragments: [][]byte{fragmentOf(symbols, body)}, Samples: len(all), Oldest: 1, Newest: 1}
}

// TestDamagedAndTooLargeIsCounted: a message that is too large, and cannot be divided since it cannot be read.
func TestDamagedAndTooLargeIsCounted(t *testing.T) {
	for name, fragment := range map[string][]byte{
		"cannot be read": fragmentOf([]byte{0xff, 0xff, 0xff}, []byte{0xff, 0xff}),
		"has no series":  fragmentOf([]byte{0x22, 0}, nil),
	} {
		r := newTestReceiver(func(context.Context, []byte, wire.Protocol, int) Answer { return answerOf(413) }, wire.V2)
		lost := map[Reason]int{}
		s := r.NewSender(anyRandom(), nil, func(f Fate) { lost[f.Reason] += f.Dropped })
		if !s.deliver(t.Context(), wire.Message{Fragments: [][]byte{fragment}, Samples: 10, Oldest: 1, Newest: 2}) {
			t.Errorf("%s: deliver gave up", name)
		}
		if n := lost[Damaged]; n != 10 {
			t.Errorf("%s: damaged = %d, want 10", name, n)
		}
	}
}

// TestLongestRetryAfterCounts: lanes that are asked for different pauses leave the receiver alone for the longest, and
// so do requests with metadata.
func TestLongestRetryAfterCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := func(seconds string) Answer {
			return Answer{Status: 429, Header: http.Header{"Retry-After": {seconds}}}
		}
		posts := 0
		r := newTestReceiver(func(context.Context, []byte, wire.Protocol, int) Answer {
			if posts++; posts == 1 {
				return busy("90")
			}
			return answerOf(204)
		}, wire.V1)
		s, replaced := r.current()
		r.failed(s, Retry, busy("120"))
		r.failed(s, Retry, busy("1"))
		if quiet := r.quiet(); quiet != 2*time.Minute {
			t.Errorf("quiet for %v, want 2m", quiet)
		}
		time.Sleep(2 * time.Minute)
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			m := MetadataSender{Receiver: r, Random: anyRandom(), Sent: func(int, Outcome) {}}
			m.send(t.Context(), s, replaced, []wire.Family{{Name: "x", Type: model.MetricTypeCounter}})
		}()
		synctest.Wait()
		if quiet := r.quiet(); quiet != 90*time.Second {
			t.Errorf("lanes are quiet for %v, want 1m30s: the answer to metadata asked for it", quiet)
		}
		<-done
		if took := time.Since(began); posts != 2 || took != 90*time.Second {
			t.Errorf("%d posts of metadata in %v", posts, took)
		}
	})
}
