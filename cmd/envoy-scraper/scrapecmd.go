package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/version"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

const (
	// defaultStatsPath is where Envoy shows its metrics, on Istio's port too.
	defaultStatsPath = "/stats/prometheus"
	// defaultPageLimit is how large a page may be where the job has no body_size_limit.
	defaultPageLimit = 64 * units.MiB
	maxRedirects     = 10
)

// scrapeCommand reads one page as the scraper would, and says what is on it.
type scrapeCommand struct {
	target     string
	configFile string
	job        string
	output     string
	timeout    time.Duration
}

func newScrapeCommand(app *kingpin.Application) command {
	c := &scrapeCommand{}
	clause := app.Command("scrape", "Read one page as the scraper would: its families, whether Istio's metrics are there, and what metric relabeling keeps.")
	clause.Arg("url", "The page. host:port alone means http://host:port"+defaultStatsPath+".").Required().StringVar(&c.target)
	clause.Flag("config.file", "Read the page as a job of this file would: its credentials, limits and metric_relabel_configs.").PlaceHolder("FILE").StringVar(&c.configFile)
	clause.Flag("job", "The job in --config.file; not needed where there is only one.").StringVar(&c.job)
	clause.Flag("output", "Form of the output: table or json.").Default(outputTable).EnumVar(&c.output, outputTable, outputJSON)
	clause.Flag("timeout", "How long the scrape may take; 0: as long as the job says, else 10s.").Default("0s").DurationVar(&c.timeout)
	return command{clause: clause, run: c.run}
}

func (c *scrapeCommand) run(ctx context.Context, stdout, stderr io.Writer) int {
	refuse := func(err error) int {
		fmt.Fprintf(stderr, "envoy-scraper scrape: %v\n", err)
		return exitRefused
	}
	u, err := pageURL(c.target)
	if err != nil {
		return refuse(err)
	}
	job, err := c.pickJob()
	if err != nil {
		return refuse(err)
	}
	if c.timeout <= 0 {
		c.timeout = time.Duration(job.ScrapeTimeout)
	}
	p, err := fetchPage(ctx, u, job, c.timeout)
	if err != nil {
		return refuse(fmt.Errorf("%s: %w", u.Redacted(), err))
	}
	report, err := readPage(p, u, job)
	if err != nil {
		return refuse(fmt.Errorf("%s: %w", u.Redacted(), err))
	}
	write := report.writeTable
	if c.output == outputJSON {
		write = report.writeJSON
	}
	if err := write(stdout); err != nil {
		return refuse(err)
	}
	return exitOK
}

// pageURL fills in what people leave out.
func pageURL(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the text, which may hold a password
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
		u.Path = defaultStatsPath
	}
	return u, nil
}

// pickJob returns the job whose settings count: that of the file, or Prometheus' defaults.
func (c *scrapeCommand) pickJob() (*promconfig.ScrapeConfig, error) {
	if c.configFile == "" {
		if c.job != "" {
			return nil, errors.New("--job needs --config.file")
		}
		job := promconfig.DefaultScrapeConfig
		job.ScrapeProtocols = promconfig.DefaultScrapeProtocols
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
			return job, nil
		}
		names = append(names, job.JobName)
	}
	if c.job == "" {
		return nil, fmt.Errorf("%s has several jobs: choose one with --job: %s", c.configFile, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("%s has no job %q, but: %s", c.configFile, c.job, strings.Join(names, ", "))
}

// page is what a target answered.
type page struct {
	body        []byte
	contentType string
	encoding    string
	wireBytes   int64
	took        time.Duration
	redirected  string // where the page came from at last; empty: from where it was asked for
}

// fetchPage reads a page with the job's settings. Its errors are for people.
func fetchPage(ctx context.Context, u *url.URL, job *promconfig.ScrapeConfig, timeout time.Duration) (*page, error) {
	client, err := commonconfig.NewClientFromConfig(job.HTTPClientConfig, "scrape_once")
	if err != nil {
		return nil, fmt.Errorf("HTTP settings of job %q: %w", job.JobName, err)
	}
	defer client.CloseIdleConnections()
	if job.HTTPClientConfig.FollowRedirects {
		client.CheckRedirect = checkRedirect(job.HTTPClientConfig)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := pageRequest(ctx, u, job, timeout)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return nil, explainFetch(err, timeout, 0)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, explainStatus(resp)
	}
	p := &page{contentType: resp.Header.Get("Content-Type"), encoding: resp.Header.Get("Content-Encoding")}
	if final := resp.Request.URL; final.String() != u.String() {
		p.redirected = final.Redacted()
	}
	if err := p.read(resp.Body, int64(job.BodySizeLimit)); err != nil {
		return nil, explainFetch(err, timeout, len(p.body))
	}
	p.took = time.Since(began)
	return p, nil
}

// pageRequest asks as a scrape does.
func pageRequest(ctx context.Context, u *url.URL, job *promconfig.ScrapeConfig, timeout time.Duration) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	escaping, err := model.ToEscapingScheme(job.MetricNameEscapingScheme)
	if err != nil {
		escaping = model.NoEscaping
	}
	req.Header.Set("Accept", exposition.AcceptHeader(job.ScrapeProtocols, escaping))
	req.Header.Set("Accept-Encoding", exposition.AcceptEncoding(job.EnableCompression))
	req.Header.Set("User-Agent", version.PrometheusUserAgent())
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(timeout.Seconds(), 'f', -1, 64))
	return req, nil
}

// checkRedirect follows redirects, but never takes credentials to another host.
func checkRedirect(c commonconfig.HTTPClientConfig) func(*http.Request, []*http.Request) error {
	secret := c.BasicAuth != nil || c.Authorization != nil || c.OAuth2 != nil || c.HTTPHeaders != nil || c.BearerToken != "" || c.BearerTokenFile != ""
	return func(req *http.Request, via []*http.Request) error {
		switch {
		case len(via) >= maxRedirects:
			return fmt.Errorf("redirected %d times, at last to %s", len(via), req.URL.Redacted())
		case secret && req.URL.Host != via[0].URL.Host:
			return fmt.Errorf("redirected to another host, %s: the job's credentials are not sent there", req.URL.Host)
		}
		return nil
	}
}

// read reads a body as far as the limit allows; 0: no limit.
func (p *page) read(body io.Reader, limit int64) error {
	wire := &countingReader{r: body}
	defer func() { p.wireBytes = wire.n }()
	plain := io.Reader(wire)
	if p.encoding == "gzip" {
		zr, err := gzip.NewReader(wire)
		if err != nil {
			return fmt.Errorf("the page says that it is gzip, but: %w", err)
		}
		plain = zr
	}
	if limit <= 0 {
		limit = int64(^uint64(0) >> 1)
	}
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(plain, limit))
	p.body = buf.Bytes()
	if err == nil && n >= limit {
		return fmt.Errorf("the page is larger than the body_size_limit, %s", sizeWords(limit))
	}
	return err
}

// countingReader counts what came over the wire.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// explainFetch says in plain words why there is no page.
func explainFetch(err error, timeout time.Duration, read int) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, context.DeadlineExceeded) && read > 0:
		return fmt.Errorf("the page did not end within %v (%s read)", timeout, sizeWords(int64(read)))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens there (%w)", err)
	case errors.As(err, &dns):
		return fmt.Errorf("the host is not known (%w)", err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("the connection ended before the page did (%w)", err)
	}
	return err
}

// explainStatus says in plain words what an answer means that is no page.
func explainStatus(resp *http.Response) error {
	what := "the target answers " + resp.Status
	location := resp.Header.Get("Location")
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: there is no such page; Envoy's is %s", what, defaultStatsPath)
	case location != "" && resp.StatusCode/100 == 3:
		return fmt.Errorf("%s, a redirect to %s, which the job does not follow", what, redactURL(location))
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: it wants credentials; give --config.file and --job to use a job's", what)
	}
	return errors.New(what)
}

// redactURL hides a password; what is no URL is not shown.
func redactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "something that is no URL"
	}
	return u.Redacted()
}

// isWebPage reports whether the content type is one for people.
func isWebPage(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && slices.Contains([]string{"text/html", "application/xhtml+xml"}, mediaType)
}
