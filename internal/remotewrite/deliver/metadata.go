package deliver

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/golang/snappy"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// MetadataSender sends type, help and unit of metric families to a 1.0 receiver (metadata_config). In 2.0 they travel
// with each series; in 1.0 they have requests of their own. These are not queued, because the next ones say the same.
type MetadataSender struct {
	Receiver *Receiver
	Families func() []wire.Family
	Sent     func(families int, out Outcome) // called with Accepted or Refused
	Random   *rand.Rand                      // varies its pauses; for it alone
}

// Run sends all families each send_interval until ctx ends.
func (m *MetadataSender) Run(ctx context.Context) {
	for ctx.Err() == nil {
		s, replaced := m.Receiver.current()
		interval := time.Duration(s.MetadataConfig.SendInterval)
		if !s.MetadataConfig.Send || interval <= 0 {
			interval = math.MaxInt64
		}
		if !pause(ctx, interval, replaced, nil) || isClosed(replaced) {
			continue
		}
		if m.Receiver.Protocol() == wire.V1 {
			m.sendAll(ctx, s, replaced)
		}
	}
}

// sendAll sends the families in requests of max_samples_per_send.
func (m *MetadataSender) sendAll(ctx context.Context, s *Settings, replaced <-chan struct{}) {
	for part := range slices.Chunk(m.Families(), max(1, s.MetadataConfig.MaxSamplesPerSend)) {
		if ctx.Err() != nil || isClosed(replaced) {
			return
		}
		m.send(ctx, s, replaced, part)
	}
}

// send sends one request until the receiver has taken or refused it.
func (m *MetadataSender) send(ctx context.Context, s *Settings, replaced <-chan struct{}, part []wire.Family) {
	r := m.Receiver
	body := snappy.Encode(nil, wire.AppendFamilies(nil, part))
	var t attempts
	t.use(s, m.Random)
	for ; ctx.Err() == nil && !isClosed(replaced); t.made++ {
		if quiet := r.quiet(); quiet > 0 {
			pause(ctx, quiet, replaced, nil)
			continue
		}
		a := s.Client.Post(ctx, body, wire.V1, t.made)
		if a.Err != nil && ctx.Err() != nil {
			return
		}
		switch out := classify(a, requestInfo{sent: wire.V1, retryOnRateLimit: s.QueueConfig.RetryOnRateLimit}); out {
		case Accepted:
			m.Sent(len(part), Accepted)
			return
		case Retry, SlowRetry:
			r.askedForQuiet(s, a)
			pause(ctx, t.wait(out), replaced, nil)
		default:
			m.Sent(len(part), Refused)
			if r.logLimit.Allow(lineMetadata) {
				r.log.Warn("remote write endpoint refuses metadata", zap.Int("status", a.Status),
					zap.Int("families", len(part)), zap.String("error", a.Message))
			}
			return
		}
	}
}
