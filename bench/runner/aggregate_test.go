package runner

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

// TestAggregate is a whole run, with real processes and a few seconds of real time. Its agent sums nothing.
func TestAggregate(t *testing.T) {
	t.Parallel()
	whole := posterWhole(t)
	agent := whole.Ways[1].Agent
	c := AggregateConfig{Config: whole.Config, Fleet: whole.Fleet, Store: whole.Store, Replace: 2, Ways: []AggregateWay{
		{Way{Name: rawWay, Agent: agent}, rawWay}, {Way{Name: "istio", Agent: agent}, rawWay},
	}}
	r, err := Aggregate(t.Context(), c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range r.Ways {
		w := row.Windows[0]
		if due := float64(2*c.Fleet.Replicas*stepOf) * c.Interval.Seconds(); w.Seconds < due {
			t.Errorf("%s: a window of %.2f s, want %.2f at least", row.Name, w.Seconds, due)
		}
		if w.ReceiverSeries == 0 || w.ReceiverRSSMedian == 0 || w.ReceiverAnonymous == 0 || w.SentPerSecond == 0 {
			t.Errorf("%s: a figure is missing: %+v", row.Name, w)
		}
		text, err := os.ReadFile(filepath.Join(c.Out, row.Name, "run", "targets.json"))
		if err != nil || !strings.Contains(string(text), `-2"`) || strings.Contains(string(text), `-3"`) {
			t.Errorf("%s: the pods are not replaced twice: %s, %v", row.Name, text, err)
		}
	}
	if text := written(t, r); !strings.Contains(text, "each pod is replaced 2 times in a window") {
		t.Errorf("the report does not say what happened:\n%s", text)
	}
}

func TestReplaced(t *testing.T) {
	f := fleet.Config{Targets: 6, Series: 10, Replicas: 3, Base: fleet.DefaultConfig().Base}
	first := f.TargetList()
	for replacements, want := range []string{"000000", "100100", "110110", "111111", "211211", "221221", "222222"} {
		lives := ""
		for n, target := range replaced(f, replacements) {
			life := strings.TrimPrefix(strings.TrimPrefix(target.Pod, first[n].Pod), "-")
			if life == "" {
				life = "0"
			}
			if lives += life; target.Address != first[n].Address || target.Namespace != first[n].Namespace {
				t.Errorf("replica %d has moved: %+v", n, target)
			}
		}
		if lives != want {
			t.Errorf("after %d replacements the pods have lives %s, want %s", replacements, lives, want)
		}
	}
}

func TestAggregateAgainstItsBase(t *testing.T) {
	row := func(name, base string, series ...float64) AggregateRow {
		r := AggregateRow{Name: name, Base: base, Sums: "x.*"}
		for _, n := range series {
			w := WholeWindow{ReceiverSeries: n}
			w.Seconds, w.Scrapes = 10, 10
			r.Windows = append(r.Windows, w)
		}
		return r
	}
	r := AggregateReport{Fleet: fleet.Config{Targets: 10, Series: 5, Replicas: 1}, Ways: []AggregateRow{
		row(rawWay, rawWay, 100, 200, 400), row("istio", rawWay, 10, 30, 40), row("everything", rawWholeWay, 50),
	}}
	r.Interval = "10s"
	series := func(w WholeWindow) float64 { return w.ReceiverSeries }
	if got := r.against(r.Ways[1], series); got != 0.1 {
		t.Errorf("the median of the rounds' ratios is %v, want 0.1", got)
	}
	text := written(t, r)
	if want := "| series in the receiver | 200 | 30 (0.100) | 50 |"; !strings.Contains(text, want) {
		t.Errorf("%q is missing in\n%s", want, text)
	}
	if strings.Contains(text, "NOT COMPARABLE") {
		t.Errorf("each scrape was made:\n%s", text)
	}
	r.Ways[1].Windows[1].Scrapes = 9
	if text := written(t, r); !strings.Contains(text, "NOT COMPARABLE: round 2: istio made 0.900 of the scrapes") {
		t.Errorf("the report hides that scrapes are missing:\n%s", text)
	}
}

func TestWindowsOfReplacements(t *testing.T) {
	c := AggregateConfig{Config: Config{Interval: time.Second, Window: time.Minute, Windows: 2}}
	c.Fleet.Replicas = 10
	for _, tt := range []struct {
		replace, windows int
		window           time.Duration
	}{{0, 2, time.Minute}, {1, 6, 20 * time.Second}, {2, 3, 40 * time.Second}, {7, 1, 140 * time.Second}} {
		c.Replace = tt.replace
		if got := c.fit(); got.Windows != tt.windows || got.Window != tt.window {
			t.Errorf("%d replacements: %d windows of %v, want %d of %v", tt.replace, got.Windows, got.Window,
				tt.windows, tt.window)
		}
	}
}

func TestAggregateWays(t *testing.T) {
	all, err := FindAggregateWays("all")
	want := []string{"raw", "istio", "vmagent-istio", "raw-whole", "everything"}
	if err != nil || !slices.Equal(aggregateWayNames(all), want) {
		t.Fatalf("ways = %v, %v; want %v", aggregateWayNames(all), err, want)
	}
	for _, w := range all {
		i := slices.Index(want, w.Base)
		if i < 0 || all[i].Job.Sums != "" || all[i].Job.Keep != w.Job.Keep || w.Agent == nil {
			t.Errorf("%s is compared with %s, which is not the same without sums", w.Name, w.Base)
		}
	}
	if _, err := FindAggregateWays("istio,nobody"); err == nil || !strings.Contains(err.Error(), "vmagent-istio") {
		t.Errorf("error = %v, want one that lists the ways", err)
	}
}

func TestSettingsOfSums(t *testing.T) {
	s := Setup{Dir: t.TempDir(), Interval: 10 * time.Second, Job: Job{Keep: istioNames, Sums: istioNames}}
	const own = `  aggregate: [{jobs: [envoy-stats], match: "istio_.*", ` +
		`without: [instance, namespace, pod_name], as: {instance: bench}}]`
	if text := s.ownBlock(); text != "envoy_scraper:\n"+own+"\n" {
		t.Errorf("our settings are\n%s", text)
	}
	if text := (Setup{Job: Job{Keep: istioNames}}).ownBlock(); text != "" {
		t.Errorf("without sums there is\n%s", text)
	}
	command, err := vmagentSums().Prepare(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Dir, "sums.yml")
	if !slices.Contains(command.Args, "-remoteWrite.streamAggr.config="+file) {
		t.Errorf("vmagent is run with %q", command.Args)
	}
	text, err := os.ReadFile(file)
	const sums = "interval: 10000ms\n  without: [instance, namespace, pod_name]"
	if err != nil || !strings.Contains(string(text), sums) {
		t.Errorf("vmagent's file is\n%s, %v", text, err)
	}
}
