package simulate

// scrapeCounters is what an agent says of its scrapes at a time.
type scrapeCounters struct{ done, failed, samples, running float64 }

// readScrapes reads the counters of scrapes of all agents. They are compared when everything scraped until now has
// arrived: by the judgement that follows after settle.
func (w *world) readScrapes() {
	for _, r := range w.agents {
		if p := r.process; p != nil {
			p.scrapes = &scrapeCounters{done: p.total("envoy_scraper_scrape_scrapes_total"),
				failed:  p.total("envoy_scraper_scrape_failures_total"),
				samples: p.total("envoy_scraper_scrape_samples_total"),
				running: p.total("envoy_scraper_scrape_running")}
		}
	}
}

// judgeScrapes compares the counters that readScrapes has read with what has arrived. Batches that were lost whole hide
// scrapes, so the counters may be higher where agents have dropped samples for a reason other than a refusal.
func (w *world) judgeScrapes() {
	for _, r := range w.agents {
		if r.process == nil || r.process.scrapes == nil {
			continue
		}
		counted, seen, hidden := r.process.scrapes, w.oracle.Scrapes(agentAddress(r.n)), false
		r.process.scrapes = nil
		r.process.eachDropped(func(d dropped, n float64) {
			hidden = hidden || d.reason != "refused" && d.reason != alreadyDelivered
		})
		unsure := float64(seen.Unsure) + counted.running
		for _, c := range []struct {
			name          string
			counted, seen float64
			unsure        float64
			unknown       bool
		}{
			{"scrapes", counted.done, float64(seen.Done), unsure, false},
			{"failed scrapes", counted.failed, float64(seen.Failed), unsure, false},
			{"scraped samples", counted.samples, float64(seen.Samples), unsure * float64(w.mostSeries()), seen.Unknown},
		} {
			if c.counted < c.seen-c.unsure || c.counted > c.seen+c.unsure && !hidden && !c.unknown {
				w.problem("agent %d counts %v %s, but %v have arrived (%v unsure)", r.n, c.counted, c.name, c.seen,
					c.unsure)
			}
		}
	}
}

// mostSeries returns the size of the largest page.
func (w *world) mostSeries() int {
	most := w.opts.Series
	for _, p := range w.pods {
		most = max(most, p.envoy.Series())
	}
	return most
}
