package remotewrite

import (
	"net/url"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/pack"
)

// EndpointConfig is one entry of remote_write.
type EndpointConfig struct {
	*promconfig.RemoteWriteConfig
	// Negotiate: protobuf_message is not configured. 2.0 is tried first, then 1.0.
	Negotiate bool
	// Streams: batch_send_deadline is at least two scrape intervals of some job, so that requests hold several scrapes
	// of a target.
	Streams bool
	// SeriesPerSend is the number of series of a request that holds several scrapes. It is DefaultSeriesPerSend if
	// max_samples_per_send is not configured, else 0: then that key counts all samples.
	SeriesPerSend int
}

// DefaultSeriesPerSend has room for a page of 2,000 series, the default of max_samples_per_send, and what is added to
// it: without that room, a request with the last 15 samples would follow each one with 6,000.
const DefaultSeriesPerSend = 2500

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

// minLanes is the number of lanes that an endpoint has at least, unless max_shards forbids it: one slow request must
// not hold up everything.
const minLanes = 4

// lanes returns the number of lanes at the start, which is also the minimum.
func (c EndpointConfig) lanes() int { return min(max(c.QueueConfig.MinShards, minLanes), c.maxLanes()) }

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
