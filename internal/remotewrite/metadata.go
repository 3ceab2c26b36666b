package remotewrite

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// In 2.0 metadata travels with each series. 1.0 has messages of its own for it: now and then the endpoint is told what
// is known of every family (metadata_config). They are not queued: the next ones say the same.

// runMetadata tells the endpoint of families as often as its settings say, until ctx ends.
func (e *endpoint) runMetadata(ctx context.Context) {
	for ctx.Err() == nil {
		s, replaced := e.current()
		interval := time.Duration(s.MetadataConfig.SendInterval)
		if !s.MetadataConfig.Send || interval <= 0 {
			interval = math.MaxInt64
		}
		if !pause(ctx, interval, replaced) || isClosed(replaced) {
			continue
		}
		if e.health.speaks() == wire.V1 {
			e.sendMetadata(ctx, s, replaced)
		}
	}
}

// speaks is the protocol in use.
func (h *health) speaks() wire.Protocol {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.protocol
}

// sendMetadata sends what is known of every family, in requests of max_samples_per_send.
func (e *endpoint) sendMetadata(ctx context.Context, s *settings, replaced <-chan struct{}) {
	all := families(e.table)
	for part := range slices.Chunk(all, max(1, s.MetadataConfig.MaxSamplesPerSend)) {
		if ctx.Err() != nil || isClosed(replaced) {
			return
		}
		e.sendFamilies(ctx, s, replaced, part)
	}
}

// families is what is known, sorted by name; of two things that are known of one name, both.
func families(table *series.Table) []wire.Family {
	var all []wire.Family
	table.EachFamily(func(name string, typ model.MetricType, help, unit string) {
		all = append(all, wire.Family{Name: familyName(name, typ), Type: typ, Help: help, Unit: unit})
	})
	slices.SortFunc(all, func(a, b wire.Family) int {
		return strings.Compare(a.Name+"\xff"+string(a.Type)+"\xff"+a.Help+"\xff"+a.Unit, b.Name+"\xff"+string(b.Type)+"\xff"+b.Help+"\xff"+b.Unit)
	})
	return slices.Compact(all)
}

// familyName takes away what a histogram or a summary adds to its name in each of its series.
func familyName(series string, typ model.MetricType) string {
	switch typ {
	case model.MetricTypeHistogram, model.MetricTypeGaugeHistogram, model.MetricTypeSummary:
		for _, suffix := range []string{"_bucket", "_gcount", "_gsum", "_count", "_sum"} {
			if name, ok := strings.CutSuffix(series, suffix); ok {
				return name
			}
		}
	}
	return series
}

// sendFamilies sends one request, again and again while that may help.
func (e *endpoint) sendFamilies(ctx context.Context, s *settings, replaced <-chan struct{}, part []wire.Family) {
	body := snappy.Encode(nil, wire.AppendFamilies(nil, part))
	wait := backoff{min: time.Duration(s.QueueConfig.MinBackoff), max: time.Duration(s.QueueConfig.MaxBackoff)}
	slow := backoff{min: minSlowBackoff, max: maxSlowBackoff}
	for attempt := 0; ctx.Err() == nil && !isClosed(replaced); attempt++ {
		if quiet := e.health.quiet(); quiet > 0 {
			pause(ctx, quiet, replaced)
			continue
		}
		a := s.client.post(ctx, body, wire.V1, attempt)
		if a.err != nil && ctx.Err() != nil {
			return
		}
		out := classify(a, circumstances{sent: wire.V1, retryOnRateLimit: s.QueueConfig.RetryOnRateLimit})
		if out == retry || out == slowRetry {
			e.health.mu.Lock()
			e.askedForQuiet(s, a)
			e.health.mu.Unlock()
		}
		switch out {
		case accepted:
			e.metrics.metadataAccepted.Add(float64(len(part)))
			return
		case retry:
			pause(ctx, wait.wait(), replaced)
		case slowRetry:
			pause(ctx, slow.wait(), replaced)
		default:
			e.metrics.metadataRefused.Add(float64(len(part)))
			e.health.mu.Lock()
			e.limited("metadata", func() {
				e.log.Warn("remote write endpoint refuses metadata", zap.Int("status", a.status), zap.Int("families", len(part)), zap.String("error", a.message))
			})
			e.health.mu.Unlock()
			return
		}
	}
}
