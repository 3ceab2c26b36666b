// Package kubefaults puts a real kube-apiserver, behind a proxy that lets it fail in every way that matters, before the
// program: K1 to K9. Known targets have to be read on, each scrape once, and changes to be seen when the fault is over.
package kubefaults
