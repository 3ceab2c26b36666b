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

// Client sends one request body, once. The body is free again after Post, unless the answer is BodyInUse.
type Client interface {
	Post(ctx context.Context, body []byte, p wire.Protocol, attempt int) Answer
	Close()
}
