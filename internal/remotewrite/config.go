package remotewrite

import (
	"net/url"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// EndpointConfig is one entry of remote_write.
type EndpointConfig struct {
	*promconfig.RemoteWriteConfig
	// Negotiate: protobuf_message was not written. 2.0 is tried first, then 1.0.
	Negotiate bool
}

// Config is the wanted state of all endpoints.
type Config struct {
	Endpoints      []EndpointConfig
	ExternalLabels labels.Labels
	FlushDeadline  time.Duration // of a stop, and of an endpoint that a reload removed
	Ephemeral      bool          // what is queued goes with the process, though it is in a store
	Queue          queue.Config  // zero: queue.DefaultConfig
}

// minLanes is how many lanes an endpoint has unless max_shards forbids: one slow request must not hold
// everything.
const minLanes = 4

// lanes is the number of lanes that the endpoint starts with and never goes below.
func (c EndpointConfig) lanes() int { return min(max(c.QueueConfig.MinShards, minLanes), c.maxLanes()) }

// maxLanes is the largest number of lanes that the endpoint may have.
func (c EndpointConfig) maxLanes() int { return max(1, min(c.QueueConfig.MaxShards, queue.MaxLanes)) }

// label names the endpoint in metrics and logs.
func (c EndpointConfig) label() string {
	if c.Name != "" {
		return c.Name
	}
	return c.redactedURL()
}

// redactedURL has neither user info nor query: both may hold credentials.
func (c EndpointConfig) redactedURL() string {
	if c.URL == nil || c.URL.URL == nil {
		return ""
	}
	u := url.URL{Scheme: c.URL.Scheme, Host: c.URL.Host, Path: c.URL.Path}
	return u.String()
}
