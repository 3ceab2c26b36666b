package remotewrite

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/value"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// rule makes a relabel rule with Prometheus' defaults.
func rule(action relabel.Action, regex string, source ...model.LabelName) *relabel.Config {
	c := relabel.DefaultRelabelConfig
	c.Action, c.Regex, c.SourceLabels = action, relabel.MustNewRegexp(regex), source
	c.NameValidationScheme = model.UTF8Validation
	return &c
}

func replaceLabel(target, replacement string) *relabel.Config {
	c := rule(relabel.Replace, ".*")
	c.TargetLabel, c.Replacement = target, replacement
	return c
}

// TestRulesThatMakeTwoSeriesOne: a page has m and m{flag="x"}, and a rule drops flag. Prometheus' storage takes one
// sample of a series for one time, so the first row of the page is sent and the other one is counted.
func TestRulesThatMakeTwoSeriesOne(t *testing.T) {
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		for _, order := range []string{"plain first", "flagged first"} {
			t.Run(p.String()+" "+order, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					db := newTSDB(t)
					w := newWorld(t)
					w.writers.newClient = func(EndpointConfig) (deliver.Client, error) { return db, nil }
					ec := explicit(endpointConfig("a"), p)
					ec.WriteRelabelConfigs = []*relabel.Config{rule(relabel.LabelDrop, "flag")}
					w.cfg.Endpoints = []EndpointConfig{ec}
					w.apply()
					w.run()

					public := labels.FromStrings("instance", "pod-1", "job", "envoy")
					id := w.table.AddTarget(public)
					plain := w.series(id, public, "m")
					b := labels.NewBuilder(public)
					b.Set("__name__", "m")
					b.Set("flag", "x")
					flagged := w.table.Add(id, b.Labels(), series.Meta{})
					rows := []series.ID{plain, flagged}
					if order == "flagged first" {
						slices.Reverse(rows)
					}
					stale := math.Float64frombits(value.StaleNaN)
					scrapes := [][]float64{{1, 2}, {3, 4}, {5, stale}, {6}, {7, 8}, {stale, stale}}
					for i, values := range scrapes {
						var batch series.Batch
						batch.Reset(id, int64(i+1)*10_000)
						for j, v := range values {
							batch.Add(rows[j], v)
						}
						w.append(&batch)
						time.Sleep(10 * time.Second)
					}
					w.stop()

					got := db.stored[`{__name__="m", instance="pod-1", job="envoy"}`]
					if len(got) != len(scrapes) {
						t.Errorf("stored samples = %v, want one for each of %d scrapes", got, len(scrapes))
					}
					for i, values := range scrapes {
						if bits := math.Float64bits(values[0]); got[int64(i+1)*10_000] != bits {
							t.Errorf("scrape %d: stored %x, want the first row's %x", i, got[int64(i+1)*10_000], bits)
						}
					}
					if db.rejected != 0 || len(db.late) != 0 {
						t.Errorf("the receiver refused %v in %d requests, want nothing to refuse", db.late, db.rejected)
					}
					if n := w.dropped("a", notNewer); n != 5 {
						t.Errorf("samples dropped as not newer = %d, want 5", n)
					}
					w.conserved("a", 11)
				})
			})
		}
	}
}

// TestRulesAgainstPrometheus runs random rules over random pages of several targets, some of which differ only in a
// label that a rule drops, and compares what a receiver with Prometheus' storage has with what relabel.Process makes
// of each row.
func TestRulesAgainstPrometheus(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 1))
				choices := []*relabel.Config{
					rule(relabel.LabelDrop, "flag"), rule(relabel.LabelDrop, "job"), rule(relabel.LabelDrop,
						"instance"),
					rule(relabel.LabelDrop, "cluster"), rule(relabel.Drop, "metric_[12]",
						"__name__"), replaceLabel("flag", "z"),
					replaceLabel("instance", "pod-0"), replaceLabel("cluster", "c2"), rule(relabel.Keep, "metric_.*",
						"__name__"),
				}
				db := newTSDB(t)
				w := newWorld(t)
				w.writers.newClient = func(EndpointConfig) (deliver.Client, error) { return db, nil }
				ec := explicit(endpointConfig("a"), wire.Protocol(1+r.IntN(2)))
				external := labels.EmptyLabels()
				if r.IntN(2) == 0 {
					external = labels.FromStrings("cluster", "c1", "job", "external")
				}
				draw := func() {
					ec.WriteRelabelConfigs = nil
					for range 1 + r.IntN(3) {
						ec.WriteRelabelConfigs = append(ec.WriteRelabelConfigs, choices[r.IntN(len(choices))])
					}
					copied := *ec.RemoteWriteConfig
					w.cfg.Endpoints = []EndpointConfig{{RemoteWriteConfig: &copied}}
					w.cfg.ExternalLabels = external
					w.apply()
				}
				draw()
				w.run()

				type pod struct {
					id   series.TargetID
					rows map[series.ID]labels.Labels
					page []series.ID
				}
				var pods []*pod
				for i := range 3 {
					public := labels.FromStrings("instance", fmt.Sprintf("pod-%d", i), "job", "envoy")
					p := &pod{id: w.table.AddTarget(public), rows: map[series.ID]labels.Labels{}}
					for k := range 12 {
						b := labels.NewBuilder(public)
						b.Set("__name__", fmt.Sprintf("metric_%d", k/3))
						if k%3 > 0 {
							b.Set("flag", []string{"", "x", "y"}[k%3])
						}
						id := w.table.Add(p.id, b.Labels(), series.Meta{})
						p.rows[id], p.page = b.Labels(), append(p.page, id)
					}
					pods = append(pods, p)
				}
				want, appended := map[string]map[int64]uint64{}, 0
				for step := range 30 {
					if step%10 == 9 {
						draw()
					}
					for i, p := range pods {
						at := int64(step+1)*10_000 + int64(i)
						var batch series.Batch
						batch.Reset(p.id, at)
						for _, id := range p.page {
							if r.IntN(4) == 0 {
								continue
							}
							v := r.Float64()
							batch.Add(id, v)
							appended++
							lb := labels.NewBuilder(p.rows[id])
							external.Range(func(l labels.Label) {
								if lb.Get(l.Name) == "" {
									lb.Set(l.Name, l.Value)
								}
							})
							keep := relabel.ProcessBuilder(lb, ec.WriteRelabelConfigs...)
							final := lb.Labels()
							if !keep || final.IsEmpty() {
								continue
							}
							if want[final.String()] == nil {
								want[final.String()] = map[int64]uint64{}
							}
							if _, first := want[final.String()][at]; !first {
								want[final.String()][at] = math.Float64bits(v)
							}
						}
						w.append(&batch)
					}
					time.Sleep(10 * time.Second)
				}
				w.stop()
				w.conserved("a", appended)
				if db.rejected != 0 || len(db.late) != 0 {
					t.Errorf("the receiver refused %v in %d requests, want nothing to refuse", db.late, db.rejected)
				}
				for name, points := range want {
					for at, bits := range points {
						if got, ok := db.stored[name][at]; !ok || got != bits {
							t.Errorf("%s at %d: stored %x (%v), want %x", name, at, got, ok, bits)
						}
					}
				}
				if n, m := db.distinct(), count(want); n != m {
					t.Errorf("stored samples = %d, want %d", n, m)
				}
				before := w.table.Len()
				for _, p := range pods {
					w.table.Release(slices.Values(p.page))
				}
				if n := w.table.Len(); n != 0 {
					t.Errorf("series left after the stop and the end of all targets = %d (%d before), want 0", n,
						before)
				}
			})
		})
	}
}

func count(points map[string]map[int64]uint64) (n int) {
	for _, p := range points {
		n += len(p)
	}
	return n
}

var ruleCases = []struct {
	name  string
	rules []*relabel.Config
}{
	{"none", nil},
	{"drop by name", []*relabel.Config{rule(relabel.Drop, "envoy_nothing_.*", "__name__")}},
	{"labeldrop", []*relabel.Config{rule(relabel.LabelDrop, "source_principal|response_code")}},
	{"labeldrop of a target's label", []*relabel.Config{rule(relabel.LabelDrop, "source_principal|response_code|job")}},
}

// ruledMesh is an endpoint with these rules, whose queue keeps nothing, and the pages of five replicas each of some
// workloads.
func ruledMesh(tb testing.TB, rules []*relabel.Config) (w *Writers, pages []*series.Batch) {
	table := series.NewTable()
	w = New(table, nil, Options{}, zap.NewNop(), nil)
	w.openQueue = func(string, int, queue.Config) (queue.Queue, error) { return &swallow{}, nil }
	ec := endpointConfig("a")
	ec.WriteRelabelConfigs = rules
	if err := w.Apply(Config{Endpoints: []EndpointConfig{ec}}); err != nil {
		tb.Fatal(err)
	}
	for i := range 50 {
		pages = append(pages, wiretest.Mesh(table, i%10, i, 2000))
	}
	return w, pages
}

func appendAll(tb testing.TB, w *Writers, pages []*series.Batch, atMillis int64) (samples int) {
	for _, b := range pages {
		b.Time = atMillis
		if err := w.Append(b); err != nil {
			tb.Fatal(err)
		}
		samples += b.Len()
	}
	return samples
}

// TestWhatRulesCost holds what an endpoint remembers of the series that its rules change, and that a page whose series
// are known allocates nothing.
func TestWhatRulesCost(t *testing.T) {
	const mostBytes = 100
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	held := map[string]float64{}
	for _, c := range ruleCases {
		w, pages := ruledMesh(t, c.rules)
		before := heap()
		n := appendAll(t, w, pages, 1000)
		appendAll(t, w, pages, 2000)
		held[c.name] = (heap() - before) / float64(n)
		t.Logf("%s: %.0f bytes a series, %d series", c.name, held[c.name], n)
		if more := held[c.name] - held["none"]; more > mostBytes {
			t.Errorf("%s: %.0f bytes a series more than without rules, want at most %d", c.name, more, mostBytes)
		}
		at := int64(2000)
		allocations := testing.AllocsPerRun(5, func() {
			at += 1000
			appendAll(t, w, pages, at)
		})
		// Requests end, and so do their blocks. The race detector makes pools forget some of what they get.
		if most := 0.02 * float64(n); allocations > most {
			t.Errorf("%s: %.0f allocations for %d known samples, want at most %.0f", c.name, allocations, n, most)
		}
		runtime.KeepAlive(w)
	}
}

// TestRulesOfAReloadKeepTheOrder: rules that a reload brings send a series through another lane than its backlog.
func TestRulesOfAReloadKeepTheOrder(t *testing.T) {
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		t.Run(p.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := newTSDB(t)
				down := func(r *tsdbRules) {
					r.fate = func(wire.Protocol,
						int) *deliver.Answer {
						a := status(503)
						return &a
					}
				}
				up := func(r *tsdbRules) { r.fate, r.delay = nil, 100*time.Millisecond }
				w := newWorld(t)
				w.writers.newClient = func(EndpointConfig) (deliver.Client, error) { return db, nil }
				reload := func(rules ...*relabel.Config) {
					ec := explicit(endpointConfig("a"), p)
					ec.QueueConfig.MaxSamplesPerSend = 50
					ec.WriteRelabelConfigs = rules
					w.cfg.Endpoints = []EndpointConfig{ec}
					w.apply()
				}
				reload()
				w.run()
				var pods []target
				for i := range 12 {
					pods = append(pods, w.target(fmt.Sprintf("pod-%d", i), 20))
				}
				scrapes := 0
				scrapeAll := func(n int) {
					for range n {
						scrapes++
						for _, pod := range pods {
							w.append(w.scrape(pod, nowMillis()))
						}
						time.Sleep(10 * time.Second)
					}
				}
				db.set(down)
				scrapeAll(20)
				reload(rule(relabel.LabelDrop, "flag"))
				scrapeAll(3)
				db.set(up)
				scrapeAll(3)
				db.set(down)
				scrapeAll(20)
				reload()
				scrapeAll(3)
				db.set(up)
				scrapeAll(20)
				w.stop()
				if len(db.late) != 0 {
					t.Errorf("samples of %d series were out of order", len(db.late))
				}
				if n, all := db.distinct(), scrapes*12*20; n != all {
					t.Errorf("stored samples = %d, want %d", n, all)
				}
			})
		})
	}
}
