package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// knownTarget is a target as the API shows it, without fields that change with each scrape and without globalUrl, in
// which Prometheus replaces a loopback address by its host name.
type knownTarget struct {
	ScrapePool, ScrapeURL, Health string
	ScrapeInterval, ScrapeTimeout model.Duration
	Labels, DiscoveredLabels      map[string]string
}

// knownTargets returns an agent's active and dropped targets.
func (w *world) knownTargets(t *testing.T, name agentName) (active, dropped map[string]bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.urls[name]+"/api/v1/targets", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			ActiveTargets  []knownTarget
			DroppedTargets []struct {
				ScrapePool       string
				DiscoveredLabels map[string]string
			}
			DroppedTargetCounts map[string]int
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	active, dropped = map[string]bool{}, map[string]bool{}
	for _, k := range answer.Data.ActiveTargets {
		active[fmt.Sprintf("%+v", k)] = true
	}
	for _, k := range answer.Data.DroppedTargets {
		dropped[fmt.Sprintf("%+v", k)] = true
	}
	for pool, n := range answer.Data.DroppedTargetCounts {
		dropped[fmt.Sprintf("%s: %d dropped", pool, n)] = true
	}
	return active, dropped
}

// compareTargets compares the targets in the agents' APIs.
func (w *world) compareTargets(t *testing.T) {
	a, aDropped := w.knownTargets(t, theirs)
	b, bDropped := w.knownTargets(t, ours)
	nothing := func(string, agentName) string { return "" }
	w.sameSet(t, "active target", a, b, nothing)
	w.sameSet(t, "dropped target", aDropped, bDropped, nothing)
	t.Logf("%d active targets compared, %d dropped ones", len(a), len(aDropped))
}

// compareMetadata compares the metadata of metric families in remote write 1.0.
func (w *world) compareMetadata(t *testing.T) {
	w.recorder.mu.Lock()
	defer w.recorder.mu.Unlock()
	for _, e := range w.endpoints {
		if e.version == 1 {
			a, b := w.recorder.metadata[source{theirs, e}], w.recorder.metadata[source{ours, e}]
			w.sameSet(t, "metadata", a, b, explainMetadata)
			t.Logf("%v: %d families compared", e, len(a))
		}
	}
}

// compareSeriesMetadata compares the metadata of series in remote write 2.0, of which the agent sends none without a
// feature flag, between the endpoints of envoy-scraper. If a request has several scrapes, a series has the metadata of
// the newest that has some.
func (w *world) compareSeriesMetadata(t *testing.T) {
	w.recorder.mu.Lock()
	defer w.recorder.mu.Unlock()
	const byChance = 3 // series with metadata of another target, whose page gave the metric another TYPE at that moment
	first := source{ours, endpoint{2, w.endpoints[0].scrapes}}
	for _, e := range w.endpoints {
		if e.version == 1 {
			continue
		}
		from, differences := source{ours, e}, []string(nil)
		for text := range w.recorder.metadata[from] {
			if !w.recorder.metadata[first][text] {
				differences = append(differences, "only here: "+text)
			}
		}
		current := w.recorder.current[from]
		for series, want := range w.recorder.current[first] {
			if got := current[series]; got != want {
				differences = append(differences, fmt.Sprintf("%s at last: %s, want %s", series, got, want))
			}
		}
		if len(differences) > byChance {
			t.Errorf("%v: metadata that differs from that of %v:\n%s", e, first.endpoint,
				strings.Join(differences, "\n"))
		}
		t.Logf("%v: the metadata of %d series compared, differences: %q", e, len(current), differences)
	}
}

func (w *world) sameSet(t *testing.T, what string, a, b map[string]bool,
	explain func(text string, only agentName) string) {
	t.Helper()
	only := func(a, b map[string]bool, name agentName) {
		for text := range a {
			if b[text] {
				continue
			}
			if why := explain(text, name); why != "" {
				w.explained[why]++
				continue
			}
			t.Errorf("%s only from %s: %s", what, name, text)
		}
	}
	only(a, b, theirs)
	only(b, a, ours)
}
