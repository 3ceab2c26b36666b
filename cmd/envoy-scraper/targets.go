package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	promscrape "github.com/prometheus/prometheus/scrape"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// Output formats of targets and scrape.
const (
	outputTable = "table"
	outputJSON  = "json"
)

// targetsCommand runs discovery once and prints the targets.
type targetsCommand struct {
	config  *configFlags
	via     *viaFlags
	dropped bool
	output  string
	timeout time.Duration
}

func newTargetsCommand(app *kingpin.Application) command {
	c := &targetsCommand{}
	clause := app.Command("targets", "Run discovery once and print the targets with their labels. With --dropped, "+
		"also print what was dropped, and by which rule.")
	c.config = addConfigFlags(clause)
	c.config.addContext(clause)
	c.via = addViaFlag(clause, via.Auto)
	clause.Flag("dropped", "Also print what relabeling dropped and by which rule, targets that are not valid, and "+
		"targets of other shards.").BoolVar(&c.dropped)
	clause.Flag("output", "Output format: table or json.").Default(outputTable).
		EnumVar(&c.output, outputTable, outputJSON)
	clause.Flag("timeout", "Timeout of the discovery.").Default("30s").DurationVar(&c.timeout)
	return command{clause: clause, run: c.run}
}

func (c *targetsCommand) run(ctx context.Context, stdout, stderr io.Writer) int {
	remove, err := c.config.useContext()
	if err != nil {
		fmt.Fprintf(stderr, "envoy-scraper targets: %v\n", err)
		return exitRefused
	}
	defer remove()
	opts := c.config.options()
	opts.Check = true // nothing is sent, so no remote_write is needed
	cfg, err := config.Load(opts)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitRefused
	}
	discovery.TakeClientLogs(zap.NewNop()) // the error of Once is enough
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	groups, err := discovery.Once(ctx, cfg.Jobs)
	if err != nil {
		fmt.Fprintf(stderr, "envoy-scraper targets: %s\n", config.RedactURLs(err.Error()))
		return exitRefused
	}
	list := listTargets(cfg, groups, time.Now())
	if pages := pagesOfPods(cfg, groups, false); len(pages) > 0 {
		list.Via = new(c.via.choose(ctx, pages, scrape.IsPage, func() string { return whose(cfg.Jobs) }))
	}
	write := list.writeTable
	if c.output == outputJSON {
		write = list.writeJSON
	}
	if err := write(stdout, c.dropped); err != nil {
		fmt.Fprintf(stderr, "envoy-scraper targets: %v\n", err)
		return exitRefused
	}
	return exitOK
}

// targetList is what the command prints: the targets of all jobs, and the discovered targets that are none.
type targetList struct {
	Targets []foundTarget   `json:"targets"`
	Dropped []droppedTarget `json:"dropped,omitempty"`
	Invalid []invalidTarget `json:"invalid,omitempty"`
	Others  []otherTarget   `json:"other_shards,omitempty"`
	Counts  targetCounts    `json:"counts"`
	Via     *chosenWay      `json:"via,omitempty"` // how the pages of pods can be read from here; nil: there are none
}

// targetCounts counts the targets, printed or not.
type targetCounts struct {
	Targets int `json:"targets"`
	Dropped int `json:"dropped"`
	Invalid int `json:"invalid"`
	Others  int `json:"other_shards,omitempty"`
}

type foundTarget struct {
	Job        string            `json:"job"`
	URL        string            `json:"url"`
	Labels     map[string]string `json:"labels"`
	Discovered map[string]string `json:"discovered_labels"`

	key uint64 // of the target, by which the instances share the targets
}

type droppedTarget struct {
	Job        string            `json:"job"`
	Rule       int               `json:"rule"` // from 1
	Words      string            `json:"rule_in_words"`
	Saw        string            `json:"value"` // of the source labels
	Discovered map[string]string `json:"discovered_labels"`
}

type invalidTarget struct {
	Job        string            `json:"job"`
	Reason     string            `json:"reason"`
	Discovered map[string]string `json:"discovered_labels"`
}

// otherTarget is a target that another instance scrapes.
type otherTarget struct {
	foundTarget
	Shard int `json:"shard"`
}

// listTargets returns the targets that would be scraped at the time now.
func listTargets(cfg *config.Config, groups map[string][]*targetgroup.Group, now time.Time) targetList {
	list := targetList{Targets: []foundTarget{}}
	for _, job := range cfg.Jobs {
		seen := map[string]int{} // index in Targets: a job scrapes equal targets once
		for _, g := range groups[job.JobName] {
			for _, t := range g.Targets {
				list.add(job, t, g.Labels, seen, cfg.ShardByWorkload(job.JobName))
			}
		}
	}
	list.share(cfg, now)
	list.Counts = targetCounts{Targets: len(list.Targets), Dropped: len(list.Dropped), Invalid: len(list.Invalid),
		Others: len(list.Others)}
	list.sort(cfg.Jobs)
	return list
}

// share moves the targets that other instances scrape from Targets to Others.
func (l *targetList) share(cfg *config.Config, now time.Time) {
	if !cfg.Shards.On() {
		return
	}
	count := cfg.Shards.At(now).Count
	mine := l.Targets[:0]
	for _, t := range l.Targets {
		owner := shard.Owner(t.key, count)
		if owner == cfg.Shards.Index || cfg.Unsharded(t.Job) {
			mine = append(mine, t)
			continue
		}
		l.Others = append(l.Others, otherTarget{foundTarget: t, Shard: owner})
	}
	l.Targets = mine
}

// add relabels a discovered target and adds it to Targets, Dropped or Invalid.
func (l *targetList) add(job *promconfig.ScrapeConfig, own, group model.LabelSet, seen map[string]int,
	byWorkload bool) {
	b := labels.NewBuilder(labels.EmptyLabels())
	promscrape.PopulateDiscoveredLabels(b, job, own, group)
	discovered := b.Labels()
	lset, err := promscrape.PopulateLabels(b, job, own, group)
	switch {
	case err != nil:
		l.Invalid = append(l.Invalid, invalidTarget{Job: job.JobName, Reason: err.Error(),
			Discovered: shownLabels(discovered)})
	case lset.IsEmpty():
		d := droppedTarget{Job: job.JobName, Discovered: shownLabels(discovered)}
		if step, ok := relabel.Dropped(relabel.Explain(discovered, job.RelabelConfigs)); ok {
			d.Rule, d.Words, d.Saw = step.Index+1, step.String(), strconv.Quote(step.Value(shownValue))
		}
		l.Dropped = append(l.Dropped, d)
	default:
		target := promscrape.NewTarget(lset, job, own, group)
		public := target.Labels(b)
		url := scrape.MaskURL(target.URL().String())
		placement := scrape.PlacementKey(job.JobName, byWorkload, public, target.URL().String(), own, group)
		key := url + "\xff" + public.String()
		if i, ok := seen[key]; ok {
			l.Targets[i].key = min(l.Targets[i].key, placement)
			return
		}
		seen[key] = len(l.Targets)
		l.Targets = append(l.Targets, foundTarget{Job: job.JobName, URL: url, Labels: shownLabels(public),
			Discovered: shownLabels(discovered), key: placement})
	}
}

// shownLabels returns labels without secrets.
func shownLabels(l labels.Labels) map[string]string {
	shown := map[string]string{}
	l.Range(func(l labels.Label) { shown[l.Name] = shownValue(l.Name, l.Value) })
	return shown
}

// shownValue returns the value of a label without secrets.
func shownValue(label, value string) string {
	if label == model.MetaLabelPrefix+"url" {
		return config.RedactURLs(value)
	}
	return scrape.MaskParam(label, value)
}

// sort puts the lists in an order that does not depend on discovery: by job, in the order of the configuration, then by
// target.
func (l *targetList) sort(jobs []*promconfig.ScrapeConfig) {
	rank := func(name string) int {
		return slices.IndexFunc(jobs, func(j *promconfig.ScrapeConfig) bool { return j.JobName == name })
	}
	byJob := func(a, b foundTarget) int {
		return cmp.Or(cmp.Compare(rank(a.Job), rank(b.Job)), cmp.Compare(a.URL, b.URL),
			cmp.Compare(labelWords(a.Labels), labelWords(b.Labels)))
	}
	slices.SortStableFunc(l.Targets, byJob)
	slices.SortStableFunc(l.Others, func(a, b otherTarget) int { return byJob(a.foundTarget, b.foundTarget) })
	slices.SortStableFunc(l.Dropped, func(a, b droppedTarget) int {
		return cmp.Or(cmp.Compare(rank(a.Job), rank(b.Job)),
			cmp.Compare(discoveredName(a.Discovered), discoveredName(b.Discovered)))
	})
	slices.SortStableFunc(l.Invalid, func(a, b invalidTarget) int {
		return cmp.Or(cmp.Compare(rank(a.Job), rank(b.Job)),
			cmp.Compare(discoveredName(a.Discovered), discoveredName(b.Discovered)))
	})
}

// writeJSON prints the list as JSON. It prints what is not a target only with --dropped.
func (l targetList) writeJSON(w io.Writer, dropped bool) error {
	if !dropped {
		l.Dropped, l.Invalid, l.Others = nil, nil, nil
	}
	return printJSON(w, l)
}

// writeTable prints the list as tables.
func (l targetList) writeTable(w io.Writer, dropped bool) error {
	if len(l.Targets) > 0 {
		t := newTable(w, "JOB", "URL", "LABELS")
		for _, target := range l.Targets {
			t.row(target.Job, target.URL, labelWords(target.Labels))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if dropped && len(l.Dropped) > 0 {
		fmt.Fprint(w, "\nLeft out by relabeling:\n")
		t := newTable(w, "JOB", "DISCOVERED", "RULE", "VALUE")
		for _, d := range l.Dropped {
			t.row(d.Job, discoveredName(d.Discovered), fmt.Sprintf("%d: %s", d.Rule, d.Words), d.Saw)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if dropped && len(l.Invalid) > 0 {
		fmt.Fprint(w, "\nNot valid:\n")
		t := newTable(w, "JOB", "DISCOVERED", "REASON")
		for _, i := range l.Invalid {
			t.row(i.Job, discoveredName(i.Discovered), i.Reason)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if dropped && len(l.Others) > 0 {
		fmt.Fprint(w, "\nOf other shards:\n")
		t := newTable(w, "JOB", "URL", "LABELS", "SHARD")
		for _, o := range l.Others {
			t.row(o.Job, o.URL, labelWords(o.Labels), strconv.Itoa(o.Shard))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return l.writeSummary(w, dropped)
}

func (l targetList) writeSummary(w io.Writer, dropped bool) error {
	hint := ""
	if !dropped && l.Counts.Dropped+l.Counts.Invalid > 0 {
		hint = "; --dropped shows why"
	}
	others := ""
	if l.Counts.Others > 0 {
		others = fmt.Sprintf(" Of other shards: %d.", l.Counts.Others)
	}
	_, err := fmt.Fprintf(w, "\nTargets: %d.%s Discovered but left out by relabeling: %d, not valid: %d%s.\n",
		l.Counts.Targets, others, l.Counts.Dropped, l.Counts.Invalid, hint)
	if l.Via != nil && err == nil {
		_, err = fmt.Fprintf(w, "Pages of pods are read from here %s.\n", l.Via)
	}
	return err
}

// discoveredName names a discovered target by its pod, container and address: shop/cart-0/app 10.0.0.7:9080.
func discoveredName(discovered map[string]string) string {
	const prefix = model.MetaLabelPrefix + "kubernetes_"
	address := discovered[model.AddressLabel]
	if address == "" {
		address = "(no address)"
	}
	pod := discovered[prefix+"pod_name"]
	if pod == "" {
		return address
	}
	where := discovered[prefix+"namespace"] + "/" + pod
	if c := discovered[prefix+"pod_container_name"]; c != "" {
		where += "/" + c
	}
	return where + " " + address
}

// labelWords prints labels by name: app="x", job="y".
func labelWords(m map[string]string) string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("%s=%q", name, m[name])
	}
	return strings.Join(names, ", ")
}

// printable returns a text that a terminal can show. It may have several lines, as the problems of a configuration.
func printable(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = show.Printable(line)
	}
	return strings.Join(lines, "\n")
}

// table prints aligned columns.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, head ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(head...)
	return t
}

// row prints cells, which may come from pods and their pages.
func (t table) row(cells ...string) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, show.Printable(cell))
	}
	fmt.Fprintln(t.w)
}

func (t table) flush() error { return t.w.Flush() }
