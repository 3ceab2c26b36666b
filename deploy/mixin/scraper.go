package main

import "fmt"

// scraperDashboard shows envoy-scraper itself. The label job of its metrics arrives as exported_job.
func scraperDashboard() dashboard {
	d := newDashboard("envoy-scraper", "envoy-scraper", "What envoy-scraper scrapes, delivers and queues.",
		ask("instance", "Instance", "label_values(envoy_scraper_build_info, instance)", "").several(),
		ask("job", "Scrape job",
			`label_values(envoy_scraper_scrape_targets{instance=~"$instance"}, exported_job)`, "").several(),
		ask("endpoint", "Endpoint",
			`label_values(envoy_scraper_remotewrite_samples_total{instance=~"$instance"}, endpoint)`, "").several(),
	)
	scrape := func(name string) string {
		return fmt.Sprintf(`envoy_scraper_%s{instance=~"$instance",exported_job=~"$job"}`, name)
	}
	write := func(name string) string {
		return fmt.Sprintf(`envoy_scraper_%s{instance=~"$instance",endpoint=~"$endpoint"}`, name)
	}
	own := func(name string) string { return fmt.Sprintf(`%s{instance=~"$instance"}`, name) }
	// processes selects the go_ and process_ metrics of envoy-scraper, not those of other programs.
	processes := func(expr string) string {
		return expr + ` and on (job, instance) ` + own("envoy_scraper_build_info")
	}

	d.stat("Instances", "none", "count("+own("envoy_scraper_build_info")+")")
	d.stat("Targets", "none", sum("", scrape("scrape_targets")))
	d.stat("Samples scraped", "cps", rate("", scrape("scrape_samples_total")))
	d.stat("Samples accepted", "cps", rate("", write("remotewrite_samples_accepted_total")))
	d.stat("Oldest sample waiting", "s", "max("+write("remotewrite_pending_oldest_seconds")+")")
	d.stat("Reload refused on", "none",
		"count("+own("envoy_scraper_config_last_reload_successful")+" == 0) or vector(0)")

	d.row("Scraping")
	d.graph("Targets", "none", "", query{sum("exported_job", scrape("scrape_targets")), "{{exported_job}}"},
		query{sum("exported_job", scrape("scrape_invalid_targets")), "{{exported_job}} invalid"})
	d.graph("Failed scrapes by reason", "cps", "",
		query{rate("exported_job, reason", scrape("scrape_failures_total")), "{{exported_job}} {{reason}}"})
	d.graph("Scrapes", "cps", "", query{rate("exported_job", scrape("scrape_scrapes_total")), "{{exported_job}}"},
		query{rate("instance", own("envoy_scraper_scrape_skipped_total")), "skipped on {{instance}}"},
		query{rate("exported_job", scrape("scrape_left_out_total")), "{{exported_job}} left out: slow sidecars"})
	d.graph("Duration of scrapes", "s", "", quantiles("", scrape("scrape_duration_seconds_bucket"), 1)...)
	d.graph("Samples read", "cps", "", query{rate("exported_job", scrape("scrape_samples_total")), "{{exported_job}}"})
	d.graph("Samples not sent on, by reason", "cps", "",
		query{rate("exported_job, reason", scrape("scrape_dropped_samples_total")), "{{exported_job}} {{reason}}"})

	aggregate := func(name string) string { return own("envoy_scraper_aggregate_" + name) }
	d.row("Aggregates")
	d.graph("Series", "none", "Series of pages that are summed, and the aggregates that are written instead.",
		query{sum("", aggregate("source_series")), "summed"}, query{sum("", aggregate("series")), "written"})
	d.graph("Samples", "cps", "", query{rate("", aggregate("samples_summed_total")), "summed"},
		query{rate("", aggregate("samples_written_total")), "written"})
	d.graph("What pages showed", "cps", "Series that were new or had fallen, and processes that had restarted.",
		query{rate("", aggregate("births_total")), "new series"}, query{rate("", aggregate("resets_total")), "resets"},
		query{rate("", aggregate("restarts_total")), "restarts"})
	d.graph("Late ticks", "cps", "Aggregates that were written later than a tenth of the interval after their tick.",
		query{rate("instance", aggregate("late_ticks_total")), "{{instance}}"})

	d.row("Delivery")
	d.graph("Samples", "cps", "", query{rate("endpoint", write("remotewrite_samples_total")), "{{endpoint}} scraped"},
		query{rate("endpoint", write("remotewrite_samples_accepted_total")), "{{endpoint}} accepted"})
	d.graph("Samples lost by reason", "cps", "",
		query{rate("endpoint, reason", write("remotewrite_samples_dropped_total")), "{{endpoint}} {{reason}}"})
	d.graph("Samples rejected by reason", "cps", "By what the receiver said when it refused samples for good.",
		query{rate("endpoint, reason", write("remotewrite_rejected_samples_total")), "{{endpoint}} {{reason}}"})
	d.graph("Answers", "reqps", "",
		query{rate("endpoint, answer", write("remotewrite_answers_total")), "{{endpoint}} {{answer}}"})
	d.graph("Retries", "reqps", "", query{rate("endpoint", write("remotewrite_retries_total")), "{{endpoint}}"})
	d.graph("Duration of requests", "s", "",
		quantiles("endpoint", write("remotewrite_send_duration_seconds_bucket"), 1)...)
	d.graph("Bytes sent", "Bps", "Compressed, retries included.",
		query{rate("endpoint", write("remotewrite_sent_bytes_total")), "{{endpoint}}"})
	d.graph("Lag", "s", "Age of the newest timestamp that the endpoint accepted. Samples may wait for max_delay.",
		query{"time() - " + write("remotewrite_highest_accepted_timestamp_seconds"), "{{instance}} {{endpoint}}"})
	d.graph("Protocol", "none", "Major version of remote write.",
		query{write("remotewrite_protocol"), "{{instance}} {{endpoint}}"})

	d.row("Queue")
	d.graph("Bytes waiting, and their limit", "bytes", "",
		query{write("remotewrite_pending_bytes"), "{{instance}} {{endpoint}}"},
		query{write("remotewrite_pending_limit_bytes"), "{{instance}} {{endpoint}} limit"})
	d.graph("Age of the oldest sample waiting", "s", "Up to max_delay is no backlog.",
		query{write("remotewrite_pending_oldest_seconds"), "{{instance}} {{endpoint}}"})
	d.graph("Time to full", "s", "Shown only while the queue grows.",
		query{write("remotewrite_pending_full_seconds") + " < +Inf", "{{instance}} {{endpoint}}"})
	d.graph("Bytes on disk", "bytes", "", query{write("queue_disk_bytes"), "{{instance}} {{endpoint}}"})
	d.graph("Bytes in memory", "bytes", "", query{write("queue_memory_bytes"), "{{instance}} {{endpoint}}"})
	d.graph("Disk faults", "cps", "",
		query{rate("endpoint", write("queue_write_errors_total")), "{{endpoint}} write errors"},
		query{rate("endpoint", write("queue_corrupt_records_total")), "{{endpoint}} damaged records"})

	d.row("Discovery")
	d.graph("Groups", "none", "Sources of targets, such as pods.",
		query{sum("exported_job", scrape("discovery_groups")), "{{exported_job}}"})
	d.graph("Time since the last update", "s", "",
		query{"time() - " + scrape("discovery_last_update_timestamp_seconds"), "{{instance}} {{exported_job}}"})
	d.graph("Kubernetes API server answers", "none", "1: it answers and grants what discovery needs; 0: it does not.",
		query{"min by (exported_job) (" + scrape("discovery_api_server_up") + ")", "{{exported_job}}"})

	d.row("Process")
	d.graph("CPU", "none", "Cores.",
		query{processes("rate(" + own("process_cpu_seconds_total") + "[$__rate_interval])"), "{{instance}}"})
	d.graph("Memory", "bytes", "", query{processes(own("process_resident_memory_bytes")), "{{instance}} resident"},
		query{processes(own("go_memstats_heap_inuse_bytes")), "{{instance}} heap"})
	d.graph("Series", "none", "Distinct series, counted once for all targets that share them.",
		query{own("envoy_scraper_scrape_series"), "{{instance}}"})
	return d
}
