package deliver

import (
	"context"
	"math"

	promhttp "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// Settings say how to deliver to a receiver. They are immutable; a reload replaces them whole.
type Settings struct {
	*promconfig.RemoteWriteConfig
	Negotiate bool // protobuf_message is not configured: 2.0 is tried first, then 1.0
	// SeriesPerSend is the number of series of a request; 0: max_samples_per_send counts all samples.
	SeriesPerSend int
	Client        Client

	// The following are for NewClient.

	// Dial connects, and chooses among the addresses of a name; nil: by the network of the machine.
	Dial promhttp.DialContextFunc
	// Chance chooses among the addresses of a name (round_robin_dns) if Dial is nil.
	Chance chance.Source
}

// maxSearched is the number of series of a request to a 1.0 receiver that rejects: a search for bad series is for one
// request, and has the same limits for each.
const maxSearched = 2000

// limits bound a message.
type limits struct {
	samples, series int
	asV1            bool // it is made as 1.0 at once
}

// limits returns the limits of messages to a receiver of a protocol. rejects: it is a 1.0 one, and rejected samples
// lately. Then messages are probably taken apart, which needs them as 2.0.
func (s *Settings) limits(p wire.Protocol, rejects bool) limits {
	l := limits{samples: s.QueueConfig.MaxSamplesPerSend, series: math.MaxInt}
	if s.SeriesPerSend > 0 {
		l = limits{samples: math.MaxInt, series: s.SeriesPerSend}
	}
	l.asV1 = p == wire.V1 && !rejects
	if rejects {
		l.series = min(l.series, maxSearched)
	}
	return l
}

// allow reports whether a message may hold so much.
func (l limits) allow(z size) bool { return z.samples <= l.samples && z.series <= l.series }

// ownPost reports whether fragments of a stream that hold so much have a request of their own.
func (l limits) ownPost(z size) bool {
	return z.samples >= enoughForPost || 2*z.samples >= l.merging(z.scrapes).Samples
}

// merging returns the limits of messages that hold a number of scrapes of a target.
func (l limits) merging(scrapes int) wire.Limits {
	most := l.samples
	if l.series < most/scrapes {
		most = l.series * scrapes
	}
	merged := wire.Limits{Samples: most, Bytes: maxMergedBytes}
	if l.asV1 {
		merged.BytesV1 = maxMergedV1
	}
	return merged
}

// size is what a message holds.
type size struct {
	samples int
	series  int // about: those of the largest scrape of each stream
	scrapes int // the largest number of one stream
}

func (z size) with(o size) size {
	return size{z.samples + o.samples, z.series + o.series, max(z.scrapes, o.scrapes)}
}

// Client sends one request body, once. The body is free again after Post, unless the answer is BodyInUse.
type Client interface {
	Post(ctx context.Context, body []byte, p wire.Protocol, attempt int) Answer
	Close()
}
