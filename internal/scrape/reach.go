package scrape

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
)

const (
	// ReachTimeout is how long AnswersDirectly waits for an answer.
	ReachTimeout = 2 * time.Second
	// maxReachPages is how many pages AnswersDirectly asks for.
	maxReachPages = 3
)

// PagesOfPods returns the pages of the pods among a job's groups, by URL, as scrapes that have not run. Their Timeout
// is that of the job, and Via is not set. They refuse the addresses that a scrape with these options refuses.
func PagesOfPods(job *promconfig.ScrapeConfig, groups []*targetgroup.Group, opts Options) []*Once {
	ownAddress := opts.OwnAddressOnly != nil && opts.OwnAddressOnly(job.JobName)
	lb := labels.NewBuilder(labels.EmptyLabels())
	var pages []*Once
	for _, g := range groups {
		for _, found := range g.Targets {
			own := discovery.Own(found, g.Labels, model.LabelSet{})
			t, err := makeTarget(lb, job, own, g, ownAddress)
			if err != nil || t == nil || t.named || t.socket != "" {
				continue
			}
			pod := podOf(own, g.Labels)
			u, err := url.Parse(t.url)
			if pod == nil || err != nil {
				continue
			}
			pages = append(pages, &Once{Job: job, URL: u, Timeout: t.timeout, Pod: pod,
				RefuseLoopback: !opts.AllowLoopback, OwnAddressOnly: ownAddress})
		}
	}
	byURL := func(a, b *Once) bool { return a.URL.String() == b.URL.String() }
	slices.SortFunc(pages, func(a, b *Once) int { return strings.Compare(a.URL.String(), b.URL.String()) })
	return slices.CompactFunc(pages, byURL)
}

// AnswersDirectly asks for up to three of the pages, at once and directly, and returns the first whose response counts
// within ReachTimeout: see IsPage and IsAnswer. If none does, it returns nil.
func AnswersDirectly(ctx context.Context, pages []*Once, counts func(*http.Response) bool) *Once {
	ctx, cancel := context.WithTimeout(ctx, ReachTimeout)
	defer cancel()
	if n := len(pages); n > maxReachPages { // of different parts of the cluster, if addresses tell that
		pages = []*Once{pages[0], pages[n/2], pages[n-1]}
	}
	answered := make(chan *Once, len(pages))
	var running sync.WaitGroup
	for _, page := range pages {
		try := &Once{Job: page.Job, URL: page.URL, Timeout: ReachTimeout, Pod: page.Pod,
			RefuseLoopback: page.RefuseLoopback, OwnAddressOnly: page.OwnAddressOnly}
		running.Go(func() {
			if _ = try.Run(ctx); try.Response != nil && counts(try.Response) {
				answered <- page
				cancel() // one is enough
			}
		})
	}
	running.Wait()
	select {
	case page := <-answered:
		return page
	default:
		return nil
	}
}

// IsPage reports whether a response may be a page of metrics, perhaps a long one that was not read to its end. A web
// page is none: VPN clients and proxies answer for addresses that they cannot reach.
func IsPage(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK && !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
}

// IsAnswer reports whether a response is a page of metrics, or most likely an error of the pod itself. Some networks
// answer for any address, with a web page or an empty 404. So an error needs a text, or Envoy's name.
func IsAnswer(resp *http.Response) bool {
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound, code >= 500:
		contentType := resp.Header.Get("Content-Type")
		return contentType != "" && !strings.HasPrefix(contentType, "text/html") ||
			strings.HasSuffix(resp.Header.Get("Server"), "envoy")
	}
	return IsPage(resp)
}
