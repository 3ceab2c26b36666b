package deliver

import (
	"context"

	promconfig "github.com/prometheus/prometheus/config"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// Settings say how to deliver to a receiver. They are immutable; a reload replaces them whole.
type Settings struct {
	*promconfig.RemoteWriteConfig
	Negotiate bool // protobuf_message is not configured: 2.0 is tried first, then 1.0
	// SeriesPerSend is the number of series of a request; 0: max_samples_per_send counts all samples.
	SeriesPerSend int
	Client        Client
}

// maxSearched is the number of series of a request to a 1.0 receiver that rejects: a search for bad series is for one
// request, and has the same limits for each.
const maxSearched = 2000

// samplesPerSend returns the limit of a message that holds a number of scrapes of a target. rejects: the receiver is a
// 1.0 one, and rejected samples lately.
func (s *Settings) samplesPerSend(scrapes int, rejects bool) int {
	most := s.QueueConfig.MaxSamplesPerSend
	if s.SeriesPerSend > 0 {
		most = s.SeriesPerSend * scrapes
	}
	if rejects {
		most = min(most, maxSearched*scrapes)
	}
	return most
}

// Client sends one request body, once. The body is free again after Post, unless the answer is BodyInUse.
type Client interface {
	Post(ctx context.Context, body []byte, p wire.Protocol, attempt int) Answer
	Close()
}
