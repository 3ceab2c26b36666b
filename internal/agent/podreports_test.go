package agent

import (
	"os"
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
		found, err := discovery.New(discovery.Options{}, zap.NewNop(), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		made := 0
		p := &PodReports{Config: func() *config.Config { return &config.Config{} }, Found: found, MaxAge: reportAge,
			Pools: func() []scrape.PoolStatus { made++; return nil }}
		first := p.Report()
		time.Sleep(reportAge - time.Millisecond)
		if again := p.Report(); made != 1 || !again.At.Equal(first.At) {
			t.Errorf("%d reports made, of %v and %v", made, first.At, again.At)
		}
		time.Sleep(reportAge)
		synctest.Wait()
		if later := p.Report(); made != 2 || !later.At.After(first.At) {
			t.Errorf("%d reports made, of %v and %v", made, first.At, later.At)
		}
		p.MaxAge = 0
		time.Sleep(reportAge)
		synctest.Wait()
		p.Report()
		if p.Report(); made != 4 || p.kept != nil {
			t.Errorf("%d reports made, kept: %v", made, p.kept)
		}
	})
}

func TestAskCommand(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for listen, want := range map[string]string{
		"[::]:9095": "127.0.0.1:9095", "0.0.0.0:9095": "127.0.0.1:9095", "127.0.0.1:1": "127.0.0.1:1",
	} {
		if got := askCommand(listen); got != program+" why --url=http://"+want {
			t.Errorf("%s: %s", listen, got)
		}
	}
	for _, listen := range []string{"", "10.0.0.7:9095"} { // the latter is of one pod only
		if got := askCommand(listen); got != "" {
			t.Errorf("%q: %s", listen, got)
		}
	}
}
