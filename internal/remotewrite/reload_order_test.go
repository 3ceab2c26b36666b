package remotewrite

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/golang/snappy"
	promhttp "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// generationClient is the client of one generation of the settings. It counts samples that have the external labels of
// a later generation.
type generationClient struct {
	t          *testing.T
	generation int
	early      *atomic.Int64
}

func (c generationClient) Post(_ context.Context, body []byte, p wire.Protocol, _ int) deliver.Answer {
	plain, err := snappy.Decode(nil, body)
	var req writev2.Request
	if err != nil || req.Unmarshal(plain) != nil {
		c.t.Error("not a 2.0 request")
		return status(400)
	}
	var b labels.ScratchBuilder
	for _, ts := range req.Timeseries {
		ls, err := ts.ToLabels(&b, req.Symbols)
		if err != nil {
			c.t.Error(err)
			continue
		}
		if of, err := strconv.Atoi(ls.Get("tenant")); err != nil || of > c.generation {
			c.early.Add(1)
		}
	}
	return fine(p, len(req.Timeseries))
}

func (c generationClient) Close() {}

// TestSamplesOfTheNewSettingsDoNotGoToTheOldReceiver: a reload changes the URL together with an external label. Samples
// that have the new label belong to the new URL.
func TestSamplesOfTheNewSettingsDoNotGoToTheOldReceiver(t *testing.T) {
	w := newWorld(t)
	var early atomic.Int64
	w.writers.newClient = func(ec EndpointConfig) (deliver.Client, error) {
		generation, err := strconv.Atoi(ec.URL.Path[1:])
		return generationClient{t, generation, &early}, err
	}
	apply := func(generation int) {
		ec := explicit(endpointConfig("a"), wire.V2)
		ec.URL = &promhttp.URL{URL: &url.URL{Scheme: "http", Host: "a.test", Path: fmt.Sprintf("/%d", generation)}}
		ec.QueueConfig.MaxSamplesPerSend = 10
		ec.WriteRelabelConfigs = []*relabel.Config{rule(relabel.Drop, "nothing", "__name__")}
		w.cfg.Endpoints = []EndpointConfig{ec}
		w.cfg.ExternalLabels = labels.FromStrings("tenant", strconv.Itoa(generation))
		w.apply()
	}
	apply(0)
	w.run()
	done := make(chan struct{})
	var scraping sync.WaitGroup
	for i := range 4 {
		pod := w.target(fmt.Sprintf("pod-%d", i), 200)
		scraping.Go(func() {
			for at := nowMillis(); !isDone(done); at++ {
				w.append(w.scrape(pod, at))
			}
		})
	}
	for i := range 100 {
		apply(i + 1)
	}
	close(done)
	scraping.Wait()
	w.stop()
	if n := early.Load(); n > 0 {
		t.Errorf("%d samples of new settings went to the receiver of the old ones", n)
	}
}
