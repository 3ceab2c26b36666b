package runner

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// SidecarWindow is the figures of a window.
type SidecarWindow struct {
	Seconds  float64 `json:"seconds"`
	Scrapes  float64 `json:"scrapes"`        // pages that Envoy has sent
	Stored   float64 `json:"samples_stored"` // synthetic ones included
	Sidecar  float64 `json:"sidecar_cpu_seconds"`
	Agent    float64 `json:"agent_cpu_seconds"`
	Receiver float64 `json:"receiver_cpu_seconds"`
	Page     float64 `json:"page_bytes"` // from the sidecar
	Sent     float64 `json:"sent_bytes"` // to the receiver, by the agent's own counter
	Others   float64 `json:"other_cores"`
}

// PerScrape is the CPU of Envoy for a page, in seconds.
func (w SidecarWindow) PerScrape() float64 { return ratio(w.Sidecar, w.Scrapes) }

// perMillion returns CPU seconds per million stored samples.
func (w SidecarWindow) perMillion(cpu float64) float64 { return ratio(cpu*1e6, w.Stored) }

// All is the CPU of all three, per million stored samples.
func (w SidecarWindow) All() float64 { return w.perMillion(w.Sidecar + w.Agent + w.Receiver) }

func (w SidecarWindow) String() string {
	return fmt.Sprintf("sidecar %.2f ms a page; sidecar %.2f + agent %.2f + receiver %.2f CPU-s/M samples; %.0f pages "+
		"of %.0f bytes; others used %.2f cores", w.PerScrape()*1e3, w.perMillion(w.Sidecar), w.perMillion(w.Agent),
		w.perMillion(w.Receiver), w.Scrapes, ratio(w.Page, w.Scrapes), w.Others)
}

// sidecarSnapshot is all counters at one moment.
type sidecarSnapshot struct {
	at                       time.Time
	sidecar, agent, receiver time.Duration
	ours, busy, stolen       time.Duration
	pages, bytes             float64
	stored, sent             float64
}

// window watches for the length of one window.
func (b *sidecarBed) window(ctx context.Context, way SidecarWay) (w SidecarWindow, err error) {
	var begin, end sidecarSnapshot
	// Envoy's CPU is read after the page of its counters at the beginning and before it at the end, so that page is
	// not counted. It walks over all stats.
	if err := b.counters(ctx, way, &begin); err != nil {
		return w, err
	}
	if err := b.times(&begin); err != nil {
		return w, err
	}
	if err := b.rest(ctx, b.config.Window); err != nil {
		return w, err
	}
	if err := b.times(&end); err != nil {
		return w, err
	}
	if err := b.counters(ctx, way, &end); err != nil {
		return w, err
	}
	w = SidecarWindow{
		Seconds: end.at.Sub(begin.at).Seconds(),
		Scrapes: end.pages - begin.pages - 1, Stored: end.stored - begin.stored,
		Sidecar: (end.sidecar - begin.sidecar).Seconds(), Agent: (end.agent - begin.agent).Seconds(),
		Receiver: (end.receiver - begin.receiver).Seconds(), Page: end.bytes - begin.bytes, Sent: end.sent - begin.sent,
	}
	all := end.busy + end.stolen - begin.busy - begin.stolen
	w.Others = max(0, ratio((all-(end.ours-begin.ours)).Seconds()-w.Sidecar-w.Agent-w.Receiver, w.Seconds))
	return w, nil
}

// times reads the clocks.
func (b *sidecarBed) times(s *sidecarSnapshot) (err error) {
	s.at = time.Now()
	for _, p := range []struct {
		process *process
		into    *time.Duration
	}{{b.fleet, &s.sidecar}, {b.agent, &s.agent}, {b.receiver, &s.receiver}} {
		if p.process == nil {
			continue
		}
		if *p.into, err = processCPU(p.process.pid()); err != nil {
			return err
		}
	}
	if s.ours, err = processCPU(os.Getpid()); err != nil {
		return err
	}
	s.busy, s.stolen, err = systemCPU()
	return err
}

// The counters of Envoy's admin listener, which has no other clients than the scraper and this program.
const (
	adminPages = "http.admin.downstream_rq_completed"
	adminBytes = "http.admin.downstream_cx_tx_bytes_total"
)

// counters reads the counters of the three.
func (b *sidecarBed) counters(ctx context.Context, way SidecarWay, s *sidecarSnapshot) error {
	text, err := fetch(ctx, http.MethodGet, "http://"+b.admin+"/stats?filter="+
		url.PathEscape(`^http\.admin\.downstream_(rq_completed|cx_tx_bytes_total)$`))
	if err != nil {
		return err
	}
	stats := plainStats(string(text))
	s.pages, s.bytes = stats[adminPages], stats[adminBytes]
	store, err := metricsOf(ctx, b.receiverURL)
	if err != nil {
		return err
	}
	s.stored = store[storedMetric]
	if way.Agent == nil {
		return nil
	}
	agent, err := b.metrics(ctx)
	s.sent = agent[way.Agent.SentBytes]
	return err
}

// plainStats reads lines of Envoy's page /stats.
func plainStats(text string) map[string]float64 {
	stats := map[string]float64{}
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if v, err := strconv.ParseFloat(number, 64); err == nil {
			stats[name] = v
		}
	}
	return stats
}
