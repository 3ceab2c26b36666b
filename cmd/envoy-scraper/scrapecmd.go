package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// defaultPageLimit is the body_size_limit if no job is named.
const defaultPageLimit = 64 * units.MiB

// scrapeCommand scrapes one page and prints what is on it.
type scrapeCommand struct {
	target     string
	configFile string
	job        string
	output     string
	timeout    time.Duration
	filtered   bool
	whole      bool // push_down is off for the job
	pod        *podFlags
	via        *viaFlags
}

func newScrapeCommand(app *kingpin.Application) command {
	c := &scrapeCommand{}
	clause := app.Command("scrape", "Scrape one page once, by its URL or the name of its pod, and print its metric "+
		"families, whether Istio's metrics are among them, and what metric relabeling keeps.")
	clause.Arg("page", "URL of the page (host:port is short for http://host:port"+envoy.StatsPath+"), or the name of "+
		"a pod or of a workload, such as details-v1-7f9c-x2lq or deploy/details.").
		StringVar(&c.target)
	c.pod = addPodFlags(clause)
	c.via = addViaFlag(clause, via.Auto)
	clause.Flag("config.file", "Scrape the page as a job of this file does: with its credentials, limits and "+
		"metric_relabel_configs.").PlaceHolder("FILE").StringVar(&c.configFile)
	clause.Flag("job", "Name of the job in --config.file. Not needed if the file has only one job.").StringVar(&c.job)
	clause.Flag("output", "Output format: table or json.").Default(outputTable).
		EnumVar(&c.output, outputTable, outputJSON)
	clause.Flag("filtered", "Also scrape the page with the filter that the job's metric_relabel_configs make, and say "+
		"what that saves and whether a series is missing. Exits 1 if one is.").BoolVar(&c.filtered)
	clause.Flag("timeout", "Timeout of the scrape. 0 means the scrape_timeout of the job, or 10s without a job.").
		Default("0s").DurationVar(&c.timeout)
	return command{clause: clause, run: c.run}
}

func (c *scrapeCommand) run(ctx context.Context, stdout, stderr io.Writer) int {
	refuse := func(err error) int {
		fmt.Fprintf(stderr, "envoy-scraper scrape: %s\n", printable(err.Error()))
		return exitRefused
	}
	if c.target == "" && c.pod.selector == "" {
		fmt.Fprintln(stderr, "envoy-scraper scrape: give a URL, the name of a pod (-n NAMESPACE POD or deploy/NAME), "+
			"or labels (-l app=NAME)")
		return exitUsage
	}
	job, err := c.pickJob()
	if err != nil {
		return refuse(err)
	}
	if c.timeout <= 0 {
		c.timeout = time.Duration(job.ScrapeTimeout)
	}
	var report *pageReport
	if c.pod.name(c.target) {
		report, err = c.reportOnPod(ctx, job)
	} else {
		report, err = c.reportOnURL(ctx, job)
	}
	if err != nil {
		return refuse(err)
	}
	write := report.writeTable
	if c.output == outputJSON {
		write = func(w io.Writer) error { return printJSON(w, report) }
	}
	if err := write(stdout); err != nil {
		return refuse(err)
	}
	if report.fails() {
		return exitRefused
	}
	return exitOK
}

// newReport scrapes a page, with --filtered three times, and reports on it.
func (c *scrapeCommand) newReport(ctx context.Context, once *scrape.Once) (*pageReport, error) {
	filter := filterOf(once, c.whole)
	if !c.filtered {
		report, err := newPageReport(ctx, once, nil)
		if err == nil && report.Rules > 0 {
			report.Filter = filter
		}
		return report, err
	}
	if err := filter.checkFiltered(once.Job); err != nil {
		return nil, err
	}
	kept := keptSeries{}
	report, err := newPageReport(ctx, once, kept.add)
	if err == nil {
		report.Filter = filter
		filter.compare(ctx, once, kept)
	}
	return report, err
}

func (c *scrapeCommand) reportOnURL(ctx context.Context, job *promconfig.ScrapeConfig) (*pageReport, error) {
	u, err := pageURL(c.target)
	if err != nil {
		return nil, err
	}
	if c.via.way == string(via.APIServer) {
		return nil, errors.New("--via=apiserver reads pages of pods: give the name of a pod instead of a URL")
	}
	report, err := c.newReport(ctx, &scrape.Once{Job: job, URL: u, Timeout: c.timeout})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	return report, nil
}

func (c *scrapeCommand) reportOnPod(ctx context.Context, job *promconfig.ScrapeConfig) (*pageReport, error) {
	discovery.TakeClientLogs(zap.NewNop()) // its errors are returned, too
	p, err := c.podPage(ctx, job)
	if err != nil {
		return nil, err
	}
	report, err := c.newReport(ctx, p.once)
	if err != nil {
		return nil, p.explain(err)
	}
	report.Pod, report.OtherPods, report.Via = p.name(), p.found.Others, &p.way
	return report, nil
}

// pageURL parses a URL, and adds the scheme and the path if they are missing.
func pageURL(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the text of the URL may hold a password
		}
		return nil, fmt.Errorf("the URL is not valid: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("scheme %q: only http and https pages can be scraped", u.Scheme)
	}
	if u.Hostname() == "" {
		return nil, errors.New("the URL has no host: give host:port or http://host:port/path")
	}
	if u.Path == "" {
		u.Path = envoy.StatsPath
	}
	return u, nil
}

// pickJob returns the job to scrape with: a job of the file, or one with Prometheus' defaults.
func (c *scrapeCommand) pickJob() (*promconfig.ScrapeConfig, error) {
	if c.configFile == "" {
		if c.job != "" {
			return nil, errors.New("--job needs --config.file")
		}
		job := promconfig.DefaultScrapeConfig
		job.ScrapeProtocols = promconfig.DefaultScrapeProtocols
		job.MetricNameValidationScheme, job.MetricNameEscapingScheme = model.UTF8Validation, model.AllowUTF8
		job.EnableCompression = true
		job.BodySizeLimit = defaultPageLimit
		job.ScrapeTimeout = promconfig.DefaultGlobalConfig.ScrapeTimeout
		return &job, nil
	}
	cfg, err := config.Load(config.Options{File: c.configFile, Check: true})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, job := range cfg.Jobs {
		if job.JobName == c.job || c.job == "" && len(cfg.Jobs) == 1 {
			c.whole = !cfg.PushDown(job.JobName)
			return job, nil
		}
		names = append(names, job.JobName)
	}
	if c.job == "" {
		return nil, fmt.Errorf("%s has several jobs: choose one with --job: %s", c.configFile,
			strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("%s has no job %q. Its jobs: %s", c.configFile, c.job, strings.Join(names, ", "))
}

// explainFailure returns an error that says in plain words why the scrape failed.
func explainFailure(o *scrape.Once, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	answered := ue == nil && o.Response != nil
	var dns *net.DNSError
	var server *via.ServerError
	var tooLarge *via.RateError
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.As(err, &server):
		return server
	case errors.As(err, &tooLarge):
		return fmt.Errorf("the page does not end within %v at %s, the most that is read through the API server: give "+
			"a longer --timeout", o.Timeout, tooLarge.Rate)
	case errors.Is(err, context.DeadlineExceeded) && o.Body.Len() > 0:
		return fmt.Errorf("the page did not end within %v (%s read)", o.Timeout, show.Bytes(int64(o.Body.Len())))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", o.Timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens there (%w)", err)
	case errors.As(err, &dns):
		return fmt.Errorf("the host is not known (%w)", err)
	case errors.Is(err, scrape.ErrBodyLimit):
		return fmt.Errorf("the page is larger than the body_size_limit, %s", show.Bytes(int64(o.Job.BodySizeLimit)))
	case answered && o.Response.StatusCode != http.StatusOK:
		return explainStatus(o.Response)
	case o.Read && isWebPage(o.Response.Header.Get("Content-Type")):
		return fmt.Errorf("the answer is a web page, not metrics: is the path right? Envoy's is %s", envoy.StatsPath)
	case o.Read:
		return fmt.Errorf("the page is not in a format of Prometheus, so a scrape of it fails as a whole: %w", err)
	case answered && o.Body.Len() == 0 && o.Response.Header.Get("Content-Encoding") == "gzip":
		return fmt.Errorf("the page says that it is gzip, but: %w", err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("the connection ended before the page did (%w)", err)
	}
	return err
}

// explainStatus returns an error for a response whose status is not 200.
func explainStatus(resp *http.Response) error {
	what := "the target answers " + resp.Status
	location := resp.Header.Get("Location")
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: there is no such page; Envoy's is %s", what, envoy.StatsPath)
	case location != "" && resp.StatusCode/100 == 3:
		return fmt.Errorf("%s, a redirect to %s, which the job does not follow", what, scrape.MaskURL(location))
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: it wants credentials; give --config.file and --job to use a job's", what)
	}
	return errors.New(what)
}

// isWebPage reports whether the content type is HTML.
func isWebPage(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && slices.Contains([]string{"text/html", "application/xhtml+xml"}, mediaType)
}
