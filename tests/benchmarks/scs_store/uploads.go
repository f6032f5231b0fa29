// Multipart uploads.

package main

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"strings"
)

func (s *store) begin(w http.ResponseWriter, r *request) {
	var id string
	s.change(func() {
		s.uploadsNo++
		id = fmt.Sprintf("%032x", s.uploadsNo)
		s.uploads[id] = &upload{r.key, s.moment(), map[int]part{}}
	})
	answer(w, 200, "InitiateMultipartUploadResult",
		element("Bucket", s.bucket)+element("Key", r.key)+element("UploadId", id))
}

func (s *store) upload(r *request) (*upload, error) {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return s.uploadLocked(r)
}

func (s *store) uploadLocked(r *request) (*upload, error) {
	if found := s.uploads[r.query.Get("uploadId")]; found != nil && found.key == r.key {
		return found, nil
	}
	return nil, refuse(404, "NoSuchUpload", "The specified upload does not exist.")
}

func (s *store) complete(w http.ResponseWriter, r *request, body []byte) error {
	var asked struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	open, err := s.uploadLocked(r)
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(body, &asked); err != nil || len(asked.Part) == 0 {
		return refuse(400, "InvalidPartOrder", "no parts")
	}
	joined, previous := &bytes.Buffer{}, 0
	completed := &object{modified: s.moment()}
	for _, each := range asked.Part {
		if each.PartNumber <= previous {
			return refuse(400, "InvalidPartOrder", "The parts are not in ascending order.")
		}
		previous = each.PartNumber
		found, known := open.parts[each.PartNumber]
		if !known || strings.Trim(each.ETag, `"`) != found.etag {
			return refuse(400, "InvalidPart", fmt.Sprintf("part %d is missing or another one", each.PartNumber))
		}
		completed.parts = append(completed.parts, found.content)
		completed.size += int64(len(found.content))
		sum, _ := hex.DecodeString(found.etag)
		joined.Write(sum)
	}
	for _, content := range completed.parts[:len(completed.parts)-1] {
		if len(content) < partBytesMin {
			return refuse(400, "EntityTooSmall", "a part but the last is smaller than 5 MiB")
		}
	}
	completed.etag = fmt.Sprintf("%x-%d", md5.Sum(joined.Bytes()), len(asked.Part))
	delete(s.uploads, r.query.Get("uploadId"))
	s.put(r.key, completed)
	answer(w, 200, "CompleteMultipartUploadResult", element("Key", r.key)+element("ETag", `"`+completed.etag+`"`))
	return nil
}

func (s *store) partsOrAbort(w http.ResponseWriter, r *request) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	open, err := s.uploadLocked(r)
	if err != nil {
		return err
	}
	if r.operation == "abort" {
		delete(s.uploads, r.query.Get("uploadId"))
		w.WriteHeader(204)
		return nil
	}
	var numbers []int
	for number := range open.parts {
		numbers = append(numbers, number)
	}
	sort.Ints(numbers)
	list := element("Key", r.key) + element("UploadId", r.query.Get("uploadId")) + element("IsTruncated", "false")
	for _, number := range numbers {
		list += "<Part>" + element("PartNumber", strconv.Itoa(number)) +
			element("ETag", `"`+open.parts[number].etag+`"`) +
			element("Size", strconv.Itoa(len(open.parts[number].content))) + "</Part>"
	}
	answer(w, 200, "ListPartsResult", list)
	return nil
}

func (s *store) listUploads(w http.ResponseWriter, r *request) {
	var entries []string
	s.mutex.RLock()
	for id, open := range s.uploads {
		if strings.HasPrefix(open.key, r.query.Get("prefix")) {
			entries = append(entries, "<Upload>"+element("Key", open.key)+element("UploadId", id)+
				element("Initiated", open.begun.Format(listedTime))+"</Upload>")
		}
	}
	s.mutex.RUnlock()
	sort.Strings(entries)
	answer(w, 200, "ListMultipartUploadsResult",
		element("Bucket", s.bucket)+element("IsTruncated", "false")+strings.Join(entries, ""))
}
