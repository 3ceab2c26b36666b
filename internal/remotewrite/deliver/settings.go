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
	Client    Client
}

// Client sends one request body and never retries. The body is the caller's again afterwards, unless the answer
// says that it is still in use.
type Client interface {
	Post(ctx context.Context, body []byte, p wire.Protocol, attempt int) Answer
	Close()
}
