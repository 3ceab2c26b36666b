package oracle

import (
	"math"
	"time"
)

// Scrapes says how many scrapes of a process some receiver has, up to the last judgement.
type Scrapes struct {
	Done, Failed int
	Samples      int // on the pages of good scrapes, and what failed ones say they have read
	// Unsure is how many more or fewer there may be: scrapes about when the process began, or when Judge ended.
	Unsure int
	// Unknown: the number of samples of some scrapes did not arrive.
	Unknown bool
}

// scraped is one scrape that some receiver has.
type scraped struct {
	from    string
	at      time.Time
	failed  bool
	samples int // -1: not known
}

// noteScrape notes the scrape of a batch. samples is the number on its page if it is good.
func (o *Oracle) noteScrape(receiver string, c *inForce, t *target, b *batch) {
	key := batchKey{b.rev, b.at}
	if x := o.scraped[key]; x != nil && x.samples >= 0 {
		return
	}
	x := &scraped{from: b.from, at: b.time(), failed: b.up != 1, samples: -1}
	if bits, there := b.samples[c.sentOf(receiver, t.report["scrape_samples_scraped"])]; there {
		x.samples = int(math.Float64frombits(bits))
	}
	o.scraped[key] = x
}

// nearby is how far a timestamp may be from its scrape, generously.
const nearby = time.Second

// countScrapes adds the noted scrapes of a pod to those of their processes, and the pages that no receiver has.
func (o *Oracle) countScrapes(p *pod, until time.Time) {
	for _, pg := range p.pages {
		if pg.lostBy == len(o.names) {
			pg.lostBy = 0
			o.countScrape(scraped{from: pg.by, at: pg.start, samples: len(pg.samples)}, until)
		}
	}
	for _, x := range o.scraped {
		o.countScrape(*x, until)
	}
	clear(o.scraped)
}

func (o *Oracle) countScrape(x scraped, until time.Time) {
	l := o.processOf(x.from, x.at)
	if last := o.lives[x.from][len(o.lives[x.from])-1]; l != last && last.from.Sub(x.at) < nearby {
		last.scrapes.Unsure++ // it may be of the next process
	}
	s := &l.scrapes
	s.Done++
	if x.failed {
		s.Failed++
	}
	if until.Sub(x.at) < nearby || x.at.Sub(l.from) < nearby {
		s.Unsure++
	}
	s.Samples += max(x.samples, 0)
	s.Unknown = s.Unknown || x.samples < 0
}

// Scrapes returns the scrapes of the last process of an agent.
func (o *Oracle) Scrapes(host string) Scrapes {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.lives[host][len(o.lives[host])-1].scrapes
	for _, d := range o.receivers[o.names[0]].pods {
		for _, b := range d.batches {
			if b.from == host && b.time().Sub(o.judged) < nearby {
				s.Unsure++
			}
		}
	}
	return s
}
