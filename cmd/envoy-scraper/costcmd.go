package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/agent"
	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/cost"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// costCommand prints what series cost: those of a running process, or those of one scrape of each target.
type costCommand struct {
	config *configFlags
	via    *viaFlags
	url    string

	by, sort              string
	search                string
	rows                  int
	dropFamily, dropLabel string

	aggregate, aggregateWithout string
	usedBy                      []string

	limit, concurrency int
	timeout            time.Duration
	output             string
}

func newCostCommand(app *kingpin.Application) command {
	c := &costCommand{}
	clause := app.Command("cost", "Print what the series cost, by family, label, pod, workload, namespace or job, and "+
		"what would change without some of them. Asks a running process with --url; otherwise scrapes each target "+
		"once.")
	c.config = addConfigFlags(clause)
	c.config.addContext(clause)
	c.via = addViaFlags(clause, via.Auto)
	clause.Flag("url", "URL of the pages of a running process, such as http://127.0.0.1:9095. Without it, the "+
		"targets of the configuration are discovered and scraped once.").PlaceHolder("URL").StringVar(&c.url)
	clause.Flag("by", "Table to print: family, label, pod, workload, namespace, job or dropped.").
		Default(string(cost.ByFamily)).StringVar(&c.by)
	clause.Flag("sort", "Column to sort by: name, series, share, samples, bytes or pods. Tables have further "+
		"ones: values, buckets, zero, change, took.").Default("series").StringVar(&c.sort)
	clause.Flag("search", "Print only rows whose name has this text in it.").PlaceHolder("TEXT").StringVar(&c.search)
	clause.Flag("rows", "How many rows to print.").Default("40").IntVar(&c.rows)
	clause.Flag("drop-family", "What if this metric family were not there?").PlaceHolder("NAME").
		StringVar(&c.dropFamily)
	clause.Flag("drop-label", "What if this label were not there? Counts the series that would have the same labels.").
		PlaceHolder("NAME").StringVar(&c.dropLabel)
	clause.Flag("aggregate", "What if envoy-scraper summed the series whose name matches this regular expression, "+
		"over the replicas of a workload? Or the name of a preset: "+presetNames()+". Prints the entry to copy.").
		PlaceHolder("REGEX").StringVar(&c.aggregate)
	clause.Flag("aggregate-without", "Labels that --aggregate sums away, with commas between. Default: those of the "+
		"preset, or "+strings.Join(aggregate.DefaultWithout(), ",")+".").PlaceHolder("LABELS").
		StringVar(&c.aggregateWithout)
	clause.Flag("used-by", "What if only the metrics stayed that this file uses? A Grafana dashboard (JSON) or a "+
		"file of rules. Repeatable.").PlaceHolder("FILE").StringsVar(&c.usedBy)
	clause.Flag("limit", "Scrape at most this many targets; 0 means all. Not with --url.").Default("0").IntVar(&c.limit)
	clause.Flag("concurrency", "How many targets to scrape at a time. Not with --url.").Default("8").
		IntVar(&c.concurrency)
	clause.Flag("timeout", "Timeout of the whole command.").Default("2m").DurationVar(&c.timeout)
	clause.Flag("output", "Output format: text or json.").Default(outputText).EnumVar(&c.output, outputText, outputJSON)
	return command{clause: clause, run: c.run}
}

func (c *costCommand) run(ctx context.Context, stdout, stderr io.Writer) int {
	refuse := func(err error, code int) int {
		fmt.Fprintf(stderr, "envoy-scraper cost: %s\n", printable(config.RedactURLs(err.Error())))
		return code
	}
	values, err := c.values()
	if err != nil {
		return refuse(err, exitUsage)
	}
	if err := c.addUsage(values); err != nil {
		return refuse(err, exitRefused)
	}
	remove, err := c.config.useContext()
	if err != nil {
		return refuse(err, exitRefused)
	}
	defer remove()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	report, err := c.report(ctx, values, stderr)
	if err != nil {
		return refuse(err, exitRefused)
	}
	write := report.WriteText
	if c.output == outputJSON {
		write = func(w io.Writer) error { return printJSON(w, report) }
	}
	if err := write(stdout); err != nil {
		return refuse(err, exitRefused)
	}
	for i := range report.WhatIf {
		if report.WhatIf[i].Unknown {
			return exitRefused
		}
	}
	return exitOK
}

// report asks a running process, or scrapes.
func (c *costCommand) report(ctx context.Context, values url.Values, stderr io.Writer) (*cost.Report, error) {
	if c.url == "" {
		return c.scrape(ctx, values, stderr)
	}
	p, err := newRunningProcess(c.url)
	if err != nil {
		return nil, err
	}
	return p.cost(ctx, values)
}

// values returns the query of the flags. The error names the flag.
func (c *costCommand) values() (url.Values, error) {
	switch {
	case c.limit < 0:
		return nil, fmt.Errorf("--limit: %d: give 0 for all targets, or a number above", c.limit)
	case c.concurrency < 1 || c.concurrency > 256:
		return nil, fmt.Errorf("--concurrency: %d: give a number from 1 to 256", c.concurrency)
	}
	if err := c.via.values(); err != nil {
		return nil, err
	}
	v := url.Values{"by": {c.by}, "sort": {c.sort}, "search": {c.search}, "rows": {fmt.Sprint(c.rows)},
		"drop_family": {c.dropFamily}, "drop_label": {c.dropLabel}, "aggregate": {c.aggregate},
		"aggregate_without": {c.aggregateWithout}}
	if _, err := cost.ParseQuery(v); err != nil {
		flags := strings.NewReplacer("drop_", "drop-", "aggregate_", "aggregate-")
		return nil, errors.New("--" + flags.Replace(err.Error()))
	}
	return v, nil
}

// presetNames names the presets of --aggregate.
func presetNames() string {
	var names []string
	for _, p := range aggregate.Presets() {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// addUsage reads the files of --used-by.
func (c *costCommand) addUsage(v url.Values) error {
	if len(c.usedBy) == 0 {
		return nil
	}
	var u cost.Usage
	for _, file := range c.usedBy {
		content, err := readUpTo(file, cost.MaxUsageFile+1)
		if err != nil {
			return fmt.Errorf("--used-by: %w", err)
		}
		if err := u.ParseUsage(file, content); err != nil {
			return fmt.Errorf("--used-by: %w", err)
		}
	}
	for key, list := range u.Values() {
		v[key] = list
	}
	return nil
}

func readUpTo(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(f, limit))
}

// scrape discovers the targets, scrapes each of them once, and computes the report from that.
func (c *costCommand) scrape(ctx context.Context, values url.Values, stderr io.Writer) (*cost.Report, error) {
	query, err := cost.ParseQuery(values)
	if err != nil {
		return nil, err
	}
	opts := c.config.options()
	opts.Check = true // nothing is sent, so no remote_write is needed
	cfg, err := config.Load(opts)
	if err != nil {
		return nil, err
	}
	discovery.TakeClientLogs(zap.NewNop()) // the error of Once is enough
	groups, err := discovery.Once(ctx, cfg.Jobs)
	if err != nil {
		return nil, err
	}
	found := allGroups(groups)
	table, watch := series.NewTable(), &cost.Watch{}
	watch.Start(time.Now())
	scraping := agent.JobOptions(func() *config.Config { return cfg }, "")
	scraping.Sharded, scraping.Unsharded = cfg.Shards.On(), cfg.Unsharded
	scraping.Via = c.via.forOnce(ctx, cfg, groups, false, stderr)
	pools := scrape.New(table, watch.Sink(nowhere{}), scraping, zap.NewNop(), nil)
	pools.Shard(cfg.Shards)
	if err := pools.Apply(cfg.Jobs); err != nil {
		return nil, err
	}
	pools.Update(found)
	pools.ScrapeOnce(ctx, c.limit, c.concurrency)
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, ctx.Err()
	}
	leftOut, err := sayScraped(stderr, pools.Status(), c.limit)
	if err != nil {
		return nil, err
	}
	costs := cost.New(cost.Source{Table: table, Pages: pools.LastPages, Others: pools.OtherShards, Watch: watch,
		LeftOut: leftOut, Aggregates: func() aggregate.Status { return aggregate.Status{Blocks: cfg.Aggregates()} }})
	// The timeout may have ended the scrapes. What was scraped until then is reported.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTime)
	defer cancel()
	return costs.Report(ctx, query)
}

// reportTime is how long the report may take after the scrapes.
const reportTime = time.Minute

// allGroups makes an update of everything that was discovered.
func allGroups(groups map[string][]*targetgroup.Group) map[string]discovery.Update {
	updates := map[string]discovery.Update{}
	for job, list := range groups {
		u := discovery.Update{Whole: true}
		for i, g := range list { // a number each, since two discoveries of a job may have found the same source
			u.Groups = append(u.Groups, discovery.Group{Discovery: uint64(i), Group: g})
		}
		updates[job] = u
	}
	return updates
}

// sayScraped says on stderr what is not in the figures, and returns how many targets the limit has left out. It returns
// an error if no target is in the figures.
func sayScraped(stderr io.Writer, pools []scrape.PoolStatus, limit int) (leftOut int, err error) {
	targets, scraped, failed, first := 0, 0, 0, ""
	for _, p := range pools {
		targets += len(p.Targets)
		for _, t := range p.Targets {
			if t.Health != scrape.HealthUnknown {
				scraped++
			}
			if t.Health != scrape.HealthDown {
				continue
			}
			if failed++; first == "" {
				first = fmt.Sprintf("%s: %s", t.URL, t.Err)
			}
		}
	}
	if limit > 0 {
		leftOut = max(targets-limit, 0)
	}
	switch {
	case targets == 0:
		return 0, errors.New("no targets were found; envoy-scraper targets --dropped shows what was left out, and why")
	case scraped == 0:
		return 0, fmt.Errorf("none of %d targets was scraped within the timeout; --timeout gives more time", targets)
	case failed == 1 && scraped == 1:
		return 0, fmt.Errorf("the only target could not be scraped: %s", first)
	case failed > 0 && failed == scraped:
		return 0, fmt.Errorf("none of %d targets could be scraped. The first one: %s", failed, first)
	case failed > 0:
		fmt.Fprintf(stderr, "%d of %d targets could not be scraped. The first one: %s\n", failed, scraped,
			config.RedactURLs(first))
	}
	switch {
	case scraped < targets-leftOut:
		fmt.Fprintf(stderr, "%d of %d targets were scraped within the timeout; --timeout gives more time.\n", scraped,
			targets)
	case leftOut > 0:
		fmt.Fprintf(stderr, "%d of %d targets were scraped (--limit).\n", scraped, targets)
	}
	return leftOut, nil
}

// nowhere is a sink that keeps nothing.
type nowhere struct{}

// Append implements scrape.Sink.
func (nowhere) Append(*series.Batch) error { return nil }

// Flush implements scrape.Sink.
func (nowhere) Flush() {}
