// An SCS endpoint in memory, for measurements that the endpoint of the tests, in Python, would limit.
//
// It verifies each signature and refuses each request that SCS's SDK never sends, as tests/support/scs_server does, so
// that no measurement passes on wrong requests. Standard library only; scs_store.py beside this file builds and runs it.
package main

import (
	"encoding/xml"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	contentType    = "application/octet-stream"
	clockSkew      = 15 * time.Minute
	scsDate        = "Mon, 02 Jan 2006 15:04:05 UTC"
	listedTime     = "2006-01-02T15:04:05.000Z"
	entriesMax     = 1000
	partsMax       = 10_000
	partBytesMin   = 5 << 20
	objectBytesMax = 5 << 30
)

// refusal is an error response.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(status int, code, message string) error { return &refusal{status, code, message} }

// object is immutable; its parts are never joined.
type object struct {
	parts    [][]byte
	size     int64
	etag     string
	modified time.Time
}

type part struct {
	content []byte
	etag    string
}

type upload struct {
	key   string
	begun time.Time
	parts map[int]part
}

// store has the one bucket; the lock is held for changes of the maps only, never while bodies are sent.
type store struct {
	mutex     sync.RWMutex
	objects   map[string]*object
	keys      []string // sorted
	uploads   map[string]*upload
	uploadsNo int

	bucket, accessKey string
	secret            []byte
	now               func() time.Time
}

// request is one request in SCS's terms.
type request struct {
	*http.Request
	path, bucket, key, operation string
	query                        url.Values
}

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	bucket := flag.String("bucket", "images", "the only bucket")
	accessKey := flag.String("access-key", "key", "the only access key")
	secret := flag.String("secret-key", "secret", "its secret")
	now := flag.String("now", "", "a time (RFC 3339) at which the clock stands still, to replay recorded requests")
	flag.Parse()
	served := &store{
		objects: map[string]*object{}, uploads: map[string]*upload{},
		bucket: *bucket, accessKey: *accessKey, secret: []byte(*secret), now: time.Now,
	}
	if *now != "" {
		fixed, err := time.Parse(time.RFC3339, *now)
		if err != nil {
			log.Fatal(err)
		}
		served.now = func() time.Time { return fixed }
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	// A handler of its own instead of a ServeMux, which would clean the paths of keys.
	log.Fatal((&http.Server{Handler: served}).Serve(listener))
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked, err := s.understand(r)
	if err == nil {
		err = s.serve(w, asked)
	}
	if err == nil {
		return
	}
	refused, ok := err.(*refusal)
	if !ok {
		// The client is gone, or sent less than it announced.
		panic(http.ErrAbortHandler)
	}
	// Read what is left of a body, up to net/http's limit, so that the connection stays usable.
	answer(w, refused.status, "Error", element("Code", refused.code)+element("Message", refused.message)+
		element("RequestId", "benchmark"))
}

func element(name, text string) string {
	var content strings.Builder
	// A builder never fails.
	_ = xml.EscapeText(&content, []byte(text))
	return "<" + name + ">" + content.String() + "</" + name + ">"
}

func answer(w http.ResponseWriter, status int, tag, content string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, xml.Header+"<"+tag+">"+content+"</"+tag+">")
}
