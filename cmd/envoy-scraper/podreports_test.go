package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// TestReportsAreKeptForAShortTime: people who look one after another get one report, and later ones a new report.
func TestReportsAreKeptForAShortTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		found, err := discovery.New(zap.NewNop(), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		made := 0
		p := &podReports{config: func() *config.Config { return &config.Config{} }, found: found, maxAge: reportAge,
			pools: func() []scrape.PoolStatus { made++; return nil }}
		first := p.report()
		time.Sleep(reportAge - time.Millisecond)
		if again := p.report(); made != 1 || !again.At.Equal(first.At) {
			t.Errorf("%d reports made, of %v and %v", made, first.At, again.At)
		}
		time.Sleep(reportAge)
		synctest.Wait()
		if later := p.report(); made != 2 || !later.At.After(first.At) {
			t.Errorf("%d reports made, of %v and %v", made, first.At, later.At)
		}
		p.maxAge = 0
		time.Sleep(reportAge)
		synctest.Wait()
		p.report()
		if p.report(); made != 4 || p.kept != nil {
			t.Errorf("%d reports made, %v kept", made, p.kept)
		}
	})
}
