package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

const (
	posterInterval = 250 * time.Millisecond
	queuedMetric   = "poster_queued_samples"
)

// posterConfig is a short run of the poster with a small fleet.
func posterConfig(t *testing.T, form fleet.Page) Config {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Self: self, Programs: filepath.Dir(self), Out: t.TempDir(),
		Interval: posterInterval, Warmup: posterInterval, Window: 2 * posterInterval, Windows: 1, Checks: true,
	}
	c.Cases = Cases([]Agent{{
		Name: "poster", Program: filepath.Base(self), Accept: receiver.AcceptBoth,
		Prepare: func(s Setup) (Command, error) {
			return Command{Args: []string{"poster", s.TargetsFile, s.WriteURL, s.Web}}, nil
		},
	}}, fleet.Config{Targets: 10, Series: 100, Replicas: 2, Moving: 0.2, Base: freeBase(t), Page: form})
	return c
}

func freeBase(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.1.9.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := l.Addr().(*net.TCPAddr).AddrPort()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return base
}

// poster is the smallest agent: each page once an interval, posted at once; it keeps what the receiver did not answer.
// Its arguments are the targets' file, which it reads each time, the receiver, and where it shows its own metrics and
// profiles.
func poster(ctx context.Context, args []string) error {
	targetsFile, url, web := args[0], args[1], args[2]
	var read, queued atomic.Int64
	if web != "" {
		pages := posterPages(&read, &queued)
		go func() { _ = http.ListenAndServe(web, pages) }() // the test fails at its first question
	}
	var queue [][]byte
	for tick := time.NewTicker(posterInterval); ; {
		targets, err := posterTargets(targetsFile)
		if err != nil {
			return err
		}
		for _, target := range targets {
			body, n, err := requestOf(ctx, target)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			read.Add(int64(n))
			queue = append(queue, body)
			queued.Store(int64(len(queue) * n))
			for len(queue) > 0 {
				if _, err := exchange(ctx, http.MethodPost, url, queue[0]); err != nil {
					break
				}
				queue = queue[1:]
				queued.Store(int64(len(queue) * n))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func posterPages(read, queued *atomic.Int64) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE %s counter\n%s{job=\"a\"} %d\n# TYPE go_goroutines gauge\ngo_goroutines 7\n", readMetric,
			readMetric, read.Load())
		fmt.Fprintf(w, "# TYPE %s gauge\n%s 1000\n", soakSeries, soakSeries)
		fmt.Fprintf(w, "# TYPE %s gauge\n%s %d\n", queuedMetric, queuedMetric, queued.Load())
	})
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	return mux
}

func posterTargets(file string) (targets []string, err error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var groups []struct{ Targets []string }
	err = json.Unmarshal(text, &groups)
	for _, g := range groups {
		targets = append(targets, g.Targets...)
	}
	return targets, err
}

// requestOf reads the target's page, and returns it as a request body and how many samples it has.
func requestOf(ctx context.Context, target string) (body []byte, samples int, err error) {
	page, err := exchange(ctx, http.MethodGet, "http://"+target+fleet.Path, nil)
	if err != nil {
		return nil, 0, err
	}
	p := textparse.NewPromParser(page, labels.NewSymbolTable(), false)
	st, now := writev2.NewSymbolTable(), time.Now().UnixMilli()
	req := &writev2.Request{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var l labels.Labels
		p.Labels(&l)
		_, _, v := p.Series()
		l = labels.NewBuilder(l).Set("instance", target).Labels()
		req.Timeseries = append(req.Timeseries, writev2.TimeSeries{
			LabelsRefs: st.SymbolizeLabels(l, nil), Samples: []writev2.Sample{{Timestamp: now, Value: v}},
		})
	}
	req.Symbols = st.Symbols()
	raw, err := req.Marshal()
	return snappy.Encode(nil, raw), len(req.Timeseries), err
}

func exchange(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
	req.Header.Set("Content-Encoding", "snappy")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	return answer, errors.Join(err, resp.Body.Close())
}
