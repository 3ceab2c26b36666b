package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/kubeconfig"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// autoTimeout limits the discovery of --via=auto before a run.
const autoTimeout = 30 * time.Second

// viaFlags are the flags that say how pages of pods are read.
type viaFlags struct {
	way    string
	limits via.Limits
	rate   units.Base2Bytes
}

// addViaFlag adds --via alone, for commands that read a few pages. standard is its default.
func addViaFlag(cmd *kingpin.CmdClause, standard via.Way) *viaFlags {
	f := &viaFlags{limits: via.DefaultLimits()}
	f.limits.Targets = 0 // nothing is scraped again and again
	f.rate = units.Base2Bytes(f.limits.BytesPerSecond)
	cmd.Flag("via", "How to read pages of pods: direct, apiserver (through the API server's proxy, which needs the "+
		"right to get pods/proxy), or auto (apiserver if no pod shows its page directly within 2s).").
		Default(string(standard)).
		EnumVar(&f.way, string(via.Direct), string(via.APIServer), string(via.Auto))
	return f
}

// addViaFlags adds --via and its limits, for commands that read the pages of all targets.
func addViaFlags(cmd *kingpin.CmdClause, standard via.Way) *viaFlags {
	f := addViaFlag(cmd, standard)
	cmd.Flag("via.max-in-flight", "Requests through the API server that run at the same time.").
		Default(fmt.Sprint(f.limits.InFlight)).IntVar(&f.limits.InFlight)
	cmd.Flag("via.max-rate", "Bytes per second that are read through the API server, as they are sent. Pages that do "+
		"not end in time at this rate fail.").
		Default(f.rate.String()).BytesVar(&f.rate)
	return f
}

// addViaLimit adds the flag that only run has, because only run scrapes again and again.
func (f *viaFlags) addViaLimit(cmd *kingpin.CmdClause) {
	cmd.Flag("via.limit", "Targets that may be scraped through the API server. With more targets, all of these "+
		"scrapes fail, and --via=auto refuses to start. 0: no limit.").
		Default(fmt.Sprint(via.DefaultLimits().Targets)).IntVar(&f.limits.Targets)
}

// values checks the range of each flag.
func (f *viaFlags) values() error {
	switch {
	case f.limits.InFlight < 1:
		return fmt.Errorf("--via.max-in-flight: %d: give 1 or more, such as 4", f.limits.InFlight)
	case f.rate < via.MinBytesPerSecond:
		return fmt.Errorf("--via.max-rate: %v: give %v or more, such as 5MiB", f.rate,
			units.Base2Bytes(via.MinBytesPerSecond))
	case f.limits.Targets < 0:
		return fmt.Errorf("--via.limit: %d: give a number of targets, such as 200, or 0 for no limit", f.limits.Targets)
	}
	f.limits.BytesPerSecond = int64(f.rate)
	return nil
}

// chosenWay is how pages of pods are read, and why.
type chosenWay struct {
	Way via.Way `json:"way"` // Direct or APIServer
	Why string  `json:"why"`
	Who string  `json:"who,omitempty"` // whose credentials the API server gets: user "alice" of context "prod"
}

// String returns the way and the reason as a part of a sentence.
func (w chosenWay) String() string {
	if w.Way == via.APIServer {
		return fmt.Sprintf("through the API server (%s): %s", w.Who, w.Why)
	}
	return "directly: " + w.Why
}

// choose resolves --via. who says whose credentials the API server gets.
func (f *viaFlags) choose(ctx context.Context, pages []*scrape.Once, counts func(*http.Response) bool,
	who func() string) chosenWay {
	way := chosenWay{Way: via.Way(f.way), Why: "as --via=" + f.way + " says"}
	if f.way == string(via.Auto) {
		way.Way, way.Why = auto(ctx, pages, counts)
	}
	if way.Way == via.APIServer {
		way.Who = who()
	}
	return way
}

// auto resolves --via=auto by asking for a few of the pages directly, which takes 2 s at most. counts is as for
// scrape.AnswersDirectly. Pages that work only directly are not asked for, so that no credential is sent for a try.
func auto(ctx context.Context, pages []*scrape.Once, counts func(*http.Response) bool) (way via.Way, why string) {
	if len(pages) == 0 {
		if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
			return via.Direct, "there is no pod to try yet, and this process runs in a pod itself"
		}
		return via.APIServer, "there is no pod to try yet, and this process does not run in a pod"
	}
	keys := via.DirectOnly(pages[0].Job.HTTPClientConfig)
	pages = slices.DeleteFunc(slices.Clone(pages), func(page *scrape.Once) bool {
		return len(via.DirectOnly(page.Job.HTTPClientConfig)) > 0
	})
	if len(pages) == 0 {
		return via.Direct, fmt.Sprintf("the job has %s, which works only directly", strings.Join(keys, ", "))
	}
	if page := scrape.AnswersDirectly(ctx, pages, counts); page != nil {
		return via.Direct, page.URL.Host + " answers"
	}
	return via.APIServer, fmt.Sprintf("%s showed no page directly within %v", hosts(pages), scrape.ReachTimeout)
}

// whose says whose credentials the API servers of the jobs' discoveries get, without showing any.
func whose(jobs []*promconfig.ScrapeConfig) string {
	var all []string
	for _, job := range jobs {
		for _, sd := range job.ServiceDiscoveryConfigs {
			k, ok := sd.(*kubernetes.SDConfig)
			if !ok {
				continue
			}
			who := "the service account of this pod"
			switch {
			case k.KubeConfig != "":
				who = cmp.Or(kubeconfig.Who(k.KubeConfig), k.KubeConfig)
			case k.APIServer.URL != nil:
				who = "the credentials of job " + job.JobName
			}
			if !slices.Contains(all, who) {
				all = append(all, who)
			}
		}
	}
	return strings.Join(all, ", ")
}

// hosts names the first of the pages' addresses.
func hosts(pages []*scrape.Once) string {
	if len(pages) == 1 {
		return pages[0].URL.Host
	}
	return fmt.Sprintf("%s and other pods", pages[0].URL.Host)
}

// pagesOfPods returns the pages of the pods that the jobs have found.
func pagesOfPods(cfg *config.Config, groups map[string][]*targetgroup.Group, allowLoopback bool) (
	pages []*scrape.Once) {
	opts := scrape.Options{AllowLoopback: allowLoopback, OwnAddressOnly: cfg.OwnAddressOnly}
	for _, job := range cfg.Jobs {
		pages = append(pages, scrape.PagesOfPods(job, groups[job.JobName], opts)...)
	}
	return pages
}

// forOnce returns the proxies of a command that reads the pages of all targets once. It says on stderr if they are read
// through the API server.
func (f *viaFlags) forOnce(ctx context.Context, cfg *config.Config, groups map[string][]*targetgroup.Group,
	allowLoopback bool, stderr io.Writer) *via.Proxies {
	pages := pagesOfPods(cfg, groups, allowLoopback)
	if len(pages) == 0 {
		return nil
	}
	way := f.choose(ctx, pages, scrape.IsPage, func() string { return whose(cfg.Jobs) })
	if way.Way == via.APIServer {
		fmt.Fprintf(stderr, "Pages of pods are read %v.\n", way)
	}
	return via.New(via.Options{Way: way.Way, Limits: f.limits}, nil)
}

// chooseForRun resolves --via for a run. It returns a sentence for the pages of the run, which is empty if pods are
// read directly. It logs the way unless it is the default. With --via=auto it discovers once before the run begins.
func (f *viaFlags) chooseForRun(ctx context.Context, cfg *config.Config, allowLoopback bool, log *zap.Logger) (
	chosen via.Way, notice string, err error) {
	way := chosenWay{Way: via.Way(f.way)}
	if f.way == string(via.Auto) {
		if way, err = f.tryBeforeRun(ctx, cfg, allowLoopback); err != nil {
			return "", "", err
		}
		log.Info("--via=auto: pages of pods are read " + way.String())
	}
	if way.Way == via.APIServer {
		notice = f.limits.Notice(whose(cfg.Jobs))
		log.Warn(strings.TrimSuffix(notice, "."))
	}
	return way.Way, notice, nil
}

// tryBeforeRun resolves --via=auto for a run. It refuses a run through the API server that would exceed --via.limit.
func (f *viaFlags) tryBeforeRun(ctx context.Context, cfg *config.Config, allowLoopback bool) (chosenWay, error) {
	ctx, cancel := context.WithTimeout(ctx, autoTimeout)
	defer cancel()
	groups, err := discovery.Once(ctx, cfg.Jobs)
	if err != nil {
		return chosenWay{}, fmt.Errorf("--via=auto found no pods to try (give --via=direct or --via=apiserver): %s",
			config.RedactURLs(err.Error()))
	}
	pages := pagesOfPods(cfg, groups, allowLoopback)
	way := f.choose(ctx, pages, scrape.IsPage, func() string { return whose(cfg.Jobs) })
	if n := len(pages); way.Way == via.APIServer && f.limits.Exceeds(n) && !cfg.Shards.On() {
		return way, &via.TooManyTargetsError{Targets: n, Limit: f.limits.Targets}
	}
	return way, nil
}
