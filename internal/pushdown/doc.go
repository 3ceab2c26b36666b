// Package pushdown finds out what a sidecar need not render. A rule of metric_relabel_configs that drops
//
//	envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="reviews"}
//
// drops it only after Envoy has rendered, compressed and sent it. Envoy can leave it out: it does not render stats in
// whose names it finds no match of a regular expression (RE2), the parameter filter of /stats/prometheus. That name is
// not the one that rules see. It is the raw name of the stat:
//
//	cluster.reviews.upstream_rq_2xx
//
// Build turns rules into such an expression. The expression may find more than the rules keep, because the rules are
// still applied to the page. It must never find less.
//
// Why that is possible: Envoy makes the name that rules see of the raw name. It cuts out the pieces that become labels,
// puts envoy_ in front, and replaces characters that are neither letters nor digits by underscores. So the words of the
// name are in the raw name, too, and in the same order.
//
// When that fails: if Envoy cuts out a piece that begins inside a word, the rests of two words become one. With Istio's
// tag (cache\.(.+?)\.) the stat http.mycache.v1.rq_total becomes envoy_http_myrq_total, and the word myrq is not in the
// raw name. So a caller has to compare filtered pages with whole ones from time to time.
package pushdown
