// Operations on objects.

package main

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

func (s *store) serve(w http.ResponseWriter, r *request) error {
	switch r.operation {
	case "get", "head":
		return s.get(w, r)
	case "put", "part":
		return s.receive(w, r)
	case "list":
		s.list(w, r)
		return nil
	case "uploads":
		s.listUploads(w, r)
		return nil
	case "location":
		w.Header().Set("X-Scs-Location", "bjcnc")
		return nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<20))
	if err != nil {
		return err
	}
	switch r.operation {
	case "copy":
		return s.copy(w, r)
	case "rename":
		return s.rename(r, len(body))
	case "delete":
		s.change(func() { s.remove(r.key) })
		w.WriteHeader(204)
		return nil
	case "deleteMany":
		return s.deleteMany(w, body)
	case "begin":
		s.begin(w, r)
		return nil
	case "complete":
		return s.complete(w, r, body)
	default: // "parts", "abort"
		return s.partsOrAbort(w, r)
	}
}

func (s *store) change(do func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	do()
}

// moment is the time of an object, in whole seconds as in headers, so that a listing shows the same.
func (s *store) moment() time.Time { return s.now().UTC().Truncate(time.Second) }

func (s *store) put(key string, stored *object) {
	if _, known := s.objects[key]; !known {
		position, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Insert(s.keys, position, key)
	}
	s.objects[key] = stored
}

func (s *store) remove(key string) {
	if _, known := s.objects[key]; known {
		delete(s.objects, key)
		position, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Delete(s.keys, position, position+1)
	}
}

func (s *store) find(key string) (*object, error) {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	if found := s.objects[key]; found != nil {
		return found, nil
	}
	return nil, refuse(404, "NoSuchKey", "The specified key does not exist.")
}

func (s *store) get(w http.ResponseWriter, r *request) error {
	found, err := s.find(r.key)
	if err != nil {
		return err
	}
	start, end, status := int64(0), found.size, 200
	if header := r.Header.Get("Range"); header != "" && r.operation == "get" {
		if start, end, err = rangeOf(header, found.size); err != nil {
			return err
		}
		status = 206
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, found.size))
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.FormatInt(end-start, 10))
	w.Header().Set("ETag", `"`+found.etag+`"`)
	w.Header().Set("Last-Modified", found.modified.Format(http.TimeFormat))
	w.WriteHeader(status)
	if r.operation == "head" {
		return nil
	}
	for _, content := range found.parts {
		size := int64(len(content))
		if from, to := max(start, 0), min(end, size); from < to {
			if _, err := w.Write(content[from:to]); err != nil {
				return err
			}
		}
		start, end = start-size, end-size
	}
	return nil
}

func rangeOf(header string, size int64) (int64, int64, error) {
	first, last, _ := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	start, firstErr := strconv.ParseInt(first, 10, 64)
	end, lastErr := strconv.ParseInt(last, 10, 64)
	switch {
	case first == "" && lastErr == nil:
		start, end = max(0, size-end), size
	case firstErr == nil && last == "":
		end = size
	case firstErr == nil && lastErr == nil:
		end = min(end+1, size)
	default:
		start = size
	}
	if start >= size || start >= end {
		return 0, 0, refuse(416, "InvalidRange", fmt.Sprintf("%s of %d bytes", header, size))
	}
	return start, end, nil
}

// receive stores an object or a part, after its body has arrived completely and matches its checksum.
func (s *store) receive(w http.ResponseWriter, r *request) error {
	number, err := 0, error(nil)
	if r.operation == "part" {
		number, err = strconv.Atoi(r.query.Get("partNumber"))
		if err != nil || number < 1 || number > partsMax {
			return refuse(400, "InvalidArgument", "part numbers go from 1 to 10,000")
		}
		if _, err := s.upload(r); err != nil {
			return err
		}
		if told := r.Header.Get("Content-Md5"); len(told) != 32 || told != strings.ToLower(told) {
			return refuse(400, "InvalidDigest", "the SDK sends each part's Content-MD5 in hex")
		}
	}
	if r.ContentLength > objectBytesMax {
		return refuse(400, "EntityTooLarge", "an object in one request has 5 GiB at most")
	}
	content := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, content); err != nil {
		return err
	}
	sum := md5.Sum(content)
	etag := hex.EncodeToString(sum[:])
	told := r.Header.Get("Content-Md5")
	if told != "" && told != etag && told != base64.StdEncoding.EncodeToString(sum[:]) {
		return refuse(400, "BadDigest", "the body's MD5 is "+etag)
	}
	if r.operation == "part" {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		// The upload may have been aborted while the body was received.
		open, err := s.uploadLocked(r)
		if err != nil {
			return err
		}
		open.parts[number] = part{content, etag}
	} else {
		stored := &object{[][]byte{content}, int64(len(content)), etag, s.moment()}
		s.change(func() { s.put(r.key, stored) })
	}
	w.Header().Set("ETag", `"`+etag+`"`)
	return nil
}

func (s *store) copy(w http.ResponseWriter, r *request) error {
	source, err := url.PathUnescape(r.Header.Get("x-scs-copy-source"))
	if err != nil || !strings.HasPrefix(source, "/"+s.bucket+"/") {
		return refuse(400, "InvalidArgument", "the copy source is /BUCKET/KEY")
	}
	found, err := s.find(strings.TrimPrefix(source, "/"+s.bucket+"/"))
	if err != nil {
		return err
	}
	copied := *found
	copied.modified = s.moment()
	s.change(func() { s.put(r.key, &copied) })
	answer(w, 200, "CopyObjectResult", element("ETag", `"`+found.etag+`"`))
	return nil
}

func (s *store) rename(r *request, bodySize int) error {
	if bodySize > 0 {
		return refuse(400, "InvalidArgument", "a rename has no body")
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	found := s.objects[r.key]
	if found == nil {
		return refuse(404, "NoSuchKey", "The specified key does not exist.")
	}
	s.remove(r.key)
	s.put(r.query.Get("newObjectName"), found)
	return nil
}

func (s *store) deleteMany(w http.ResponseWriter, body []byte) error {
	var asked struct {
		Object []struct{ Key string }
	}
	err := xml.Unmarshal(body, &asked)
	if err != nil || len(asked.Object) < 1 || len(asked.Object) > entriesMax {
		return refuse(400, "MalformedXML", fmt.Sprintf("%d keys", len(asked.Object)))
	}
	var deleted strings.Builder
	for _, each := range asked.Object {
		if each.Key == "" {
			return refuse(400, "MalformedXML", "an empty key")
		}
		deleted.WriteString("<Deleted>" + element("Key", each.Key) + "</Deleted>")
	}
	s.change(func() {
		for _, each := range asked.Object {
			s.remove(each.Key)
		}
	})
	answer(w, 200, "DeleteResult", deleted.String())
	return nil
}

func (s *store) list(w http.ResponseWriter, r *request) {
	prefix, delimiter, marker := r.query.Get("prefix"), r.query.Get("delimiter"), r.query.Get("marker")
	limit := entriesMax
	if given, err := strconv.Atoi(r.query.Get("max-keys")); err == nil && given > 0 {
		limit = min(given, entriesMax)
	}
	var entries, prefixes strings.Builder
	count, last, hasMore := 0, "", false
	s.mutex.RLock()
	position := max(sort.SearchStrings(s.keys, prefix), sort.SearchStrings(s.keys, marker+"\x00"))
	for position < len(s.keys) && strings.HasPrefix(s.keys[position], prefix) {
		key, common := s.keys[position], ""
		if head, _, found := strings.Cut(key[len(prefix):], delimiter); delimiter != "" && found {
			common = prefix + head + delimiter
		}
		isNew := common == "" || common > marker
		if isNew && count == limit {
			hasMore = true
			break
		}
		if common == "" {
			stored := s.objects[key]
			entries.WriteString("<Contents>" + element("Key", key) +
				element("LastModified", stored.modified.Format(listedTime)) + element("ETag", `"`+stored.etag+`"`) +
				element("Size", strconv.FormatInt(stored.size, 10)) + "</Contents>")
			count, last = count+1, key
			position++
			continue
		}
		if isNew {
			prefixes.WriteString("<CommonPrefixes>" + element("Prefix", common) + "</CommonPrefixes>")
			count, last = count+1, common
		}
		position += sort.Search(len(s.keys)-position, func(i int) bool {
			next := s.keys[position+i]
			return next > common && !strings.HasPrefix(next, common)
		})
	}
	s.mutex.RUnlock()
	head := element("Name", s.bucket) + element("Prefix", prefix) + element("Marker", marker) +
		element("MaxKeys", strconv.Itoa(limit)) + element("Delimiter", delimiter) +
		element("IsTruncated", strconv.FormatBool(hasMore))
	// As in S3, version 1 names the next marker only if a delimiter is given.
	if hasMore && delimiter != "" {
		head += element("NextMarker", last)
	}
	answer(w, 200, "ListBucketResult", head+entries.String()+prefixes.String())
}
