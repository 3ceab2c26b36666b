package scrape

import (
	"fmt"
	"hash/maphash"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestLessonsSayWhatLearningSays asks for each of many lines, one target after another, what the line becomes: a
// learner that shares lessons with the targets before, and one that shares nothing.
func TestLessonsSayWhatLearningSays(t *testing.T) {
	long := strings.Repeat("v", 20)
	targets := []labels.Labels{
		labels.FromStrings("instance", "a:1", "job", "envoy", "pod_name", "pod-1"),
		labels.FromStrings("instance", "b:1", "job", "envoy", "pod_name", "pod-2"),
		labels.FromStrings("instance", "a:1", "job", "mesh", "pod_name", "pod-2"),
		labels.FromStrings("instance", "b:1", "job", "envoy", "zone", "pod-2"),
		labels.FromStrings("instance", "b:1", "job", "envoy", "pod_name", long),
		labels.FromStrings("instance", "b:1", "job", "envoy", "pod_name", "\xff"),
		labels.FromStrings("instance", "a:1", "job", "envoy", "le", "1"),
		labels.FromStrings("instance", "b:1", "job", "envoy", "le", "2"),
		labels.FromStrings("instance", "a:1", "job", "envoy", "pod_name", "pod-3"),
	}
	for _, zone := range []string{"a", "b"} { // more labels than a mask has bits
		many := labels.NewBuilder(labels.FromStrings("zone", zone))
		for n := range series.MaxMasked {
			many.Set(fmt.Sprintf("label_%02d", n), "v")
		}
		targets = append(targets, many.Labels())
	}
	lines := []labels.Labels{
		labels.FromStrings("__name__", "a"), labels.FromStrings("__name__", "a", "x", "1"),
		labels.FromStrings("__name__", "a", "x", "instance"),
		labels.FromStrings("__name__", "a", "x", ""), labels.FromStrings("__name__", "h_bucket", "le", "1.0"),
		labels.FromStrings("__name__", "a", "instance", "a:1"), labels.FromStrings("__name__", "a", "instance", "b:1"),
		labels.FromStrings("__name__", "a", "instance", ""), labels.FromStrings("__name__", "a", "zone", "pod-2"),
		labels.FromStrings("__name__", "a", "exported_instance", "e"), labels.FromStrings("__name__", "a", "x", long),
		labels.FromStrings("__name__", "istio_requests_total", "reporter", "source", "source_workload", "unknown"),
		labels.FromStrings("__name__", "envoy_server_uptime"), labels.FromStrings("__name__", "a:b", "shard", "0"),
	}
	e := &env{table: series.NewTable(), log: zap.NewNop(), metrics: newMetrics(nil), seed: maphash.MakeSeed()}
	e.layouts, e.scratch.New = exposition.NewLayouts(e.table), newScratch
	recalled := 0
	for _, cfg := range lessonJobs(t) {
		state, err := newJobState(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		state.metrics = e.metrics.of(cfg.JobName)
		for _, target := range targets {
			l, alone := newLoop(e, state, labelled(target)), newLoop(e, state, labelled(target))
			for i, line := range lines {
				sharing, single := l.newLearner(), alone.newLearner()
				single.scope = 0
				m, text := series.Meta{Type: model.MetricTypeGauge, Help: cfg.JobName}, uint64(i+1)
				id, keep, recall := sharing.Recall(text, m)
				if recall {
					recalled++
				} else if id, keep, err = sharing.Learn(text, line, m); err != nil {
					id, keep = 0, false
				}
				wantID, wantKeep, wantErr := single.Learn(text, line, m)
				if id != wantID || keep != wantKeep || (err != nil) != (wantErr != nil) && !recall ||
					recall && wantErr != nil {
					t.Fatalf("%v of %v under %v: recalled %v: series %d, kept %v, want %d, %v, %v", line, target,
						cfg.MetricRelabelConfigs, recall, id, keep, wantID, wantKeep, wantErr)
				}
			}
			if l.traits != alone.traits {
				t.Fatalf("traits %+v, want %+v", l.traits, alone.traits)
			}
		}
	}
	if recalled < 1000 {
		t.Errorf("only %d lines were recalled", recalled)
	}
}

// lessonJobs are jobs of all rules, with the settings that decide what a line becomes.
func lessonJobs(t *testing.T) (jobs []*promconfig.ScrapeConfig) {
	named := `[{source_labels: [x], regex: '(.+)', target_label: '$1', replacement: 'a:1'}]`
	for _, rules := range append(ruleSets(), named) {
		for _, more := range []string{"", "  honor_labels: true\n", "  label_limit: 5\n",
			"  label_value_length_limit: 12\n", "  metric_name_validation_scheme: legacy\n"} {
			jobs = append(jobs, job(t, "  metric_relabel_configs: "+rules+"\n"+more))
		}
	}
	return jobs
}

func labelled(l labels.Labels) *target { return &target{labels: l} }

// TestALessonEndsWithItsSeries releases a series and gives its number to another.
func TestALessonEndsWithItsSeries(t *testing.T) {
	table := series.NewTable()
	target := table.AddTarget(labels.EmptyLabels())
	id := table.Add(target, labels.FromStrings("__name__", "a"), series.Meta{})
	ref := table.Ref(id)
	if !table.AddAgain(ref, series.Meta{}) {
		t.Fatal("not added again")
	}
	release := func(ids ...series.ID) {
		table.Release(func(yield func(series.ID) bool) {
			for _, id := range ids {
				yield(id)
			}
		})
	}
	release(id)
	if !table.AddAgain(ref, series.Meta{}) {
		t.Fatal("gone while it has a reference")
	}
	release(id, id)
	if table.AddAgain(ref, series.Meta{}) {
		t.Fatal("added again without a reference left")
	}
	if other := table.Add(target, labels.FromStrings("__name__", "b"), series.Meta{}); other != id {
		t.Fatalf("number %d, want %d again", other, id)
	}
	if table.AddAgain(ref, series.Meta{}) {
		t.Error("taken for the series that has the number now")
	}
}

func TestLessonsAreBoundedAndExpire(t *testing.T) {
	ls := lessons{max: 1000}
	for i := range uint64(5000) {
		ls.add(lesson{line: i + 1})
		ls.add(lesson{line: i + 1, kept: i%2 == 0})
	}
	if n := ls.recent.n + ls.older.n; n != 2000 {
		t.Errorf("%d lessons, want 2,000", n)
	}
	for i := range uint64(5000) {
		if found, ok := ls.find(i + 1); ok != (i >= 3000) || ok && found.kept != (i%2 == 0) {
			t.Fatalf("lesson %d: found %v, %+v", i+1, ok, found)
		}
	}
	now := time.Unix(1000, 0)
	for _, step := range []struct {
		after time.Duration
		find  bool
		kept  bool
	}{{0, false, true}, {4 * time.Second, true, true}, {4 * time.Second, false, true},
		{2 * time.Second, false, false}} {
		if now = now.Add(step.after); step.find {
			ls.find(5000)
		}
		if ls.expire(now); ls.recent.n > 0 != step.kept {
			t.Fatalf("%+v: kept %v", step, !step.kept)
		}
	}
	if fmt.Sprint(ls.recent, ls.older) != fmt.Sprint(lessonSet{}, lessonSet{}) {
		t.Error("memory is kept")
	}
}
