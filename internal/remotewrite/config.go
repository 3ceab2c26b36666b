package remotewrite

import (
	"net/url"
	"time"

	promhttp "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/pack"
)

// Options are the parts of the machine that remote write uses, except for the store. The zero Options are the machine.
type Options struct {
	Dial   promhttp.DialContextFunc // connects to receivers; nil: by the network of the machine
	Chance chance.Source            // varies the pauses before another try
}

// EndpointConfig is one entry of remote_write.
type EndpointConfig struct {
	*promconfig.RemoteWriteConfig
	// Negotiate: protobuf_message is not configured. 2.0 is tried first, then 1.0.
	Negotiate bool
	// SeriesPerSend is the number of series of a request. It is DefaultSeriesPerSend if max_samples_per_send is not
	// configured, else 0: then that key counts all samples.
	SeriesPerSend int
}

// DefaultSeriesPerSend has room for five pages of 2,000 series and what is added to them. Such a request has about
// 140 KB in remote write 2.0, and 540 KB in 1.0: less than the 1 MB that proxies in front of a receiver usually allow.
const DefaultSeriesPerSend = 10_500

// ScrapesPerRequest returns how many scrapes of a target one request holds, at least one.
func ScrapesPerRequest(delay, interval time.Duration) int {
	return pack.ScrapesPerRequest(delay, interval)
}

// Config is the wanted state of all endpoints.
type Config struct {
	Endpoints      []EndpointConfig
	ExternalLabels labels.Labels
	FlushDeadline  time.Duration // for a stop, and for an endpoint that a reload removed
	Ephemeral      bool          // queued samples are lost with the process, although there is a store
	Queue          queue.Config  // zero: queue.DefaultConfig
}

// lanes returns the number of lanes at the start, which is also the minimum.
func (c EndpointConfig) lanes() int { return min(max(c.QueueConfig.MinShards, 1), c.maxLanes()) }

// maxLanes returns the largest number of lanes.
func (c EndpointConfig) maxLanes() int { return max(1, min(c.QueueConfig.MaxShards, queue.MaxLanes)) }

// label returns the name of the endpoint in metrics and logs.
func (c EndpointConfig) label() string {
	if c.Name != "" {
		return c.Name
	}
	return c.redactedURL()
}

// redactedURL returns the URL without user info and query, because both may hold credentials.
func (c EndpointConfig) redactedURL() string {
	if c.URL == nil || c.URL.URL == nil {
		return ""
	}
	u := url.URL{Scheme: c.URL.Scheme, Host: c.URL.Host, Path: c.URL.Path}
	return u.String()
}
