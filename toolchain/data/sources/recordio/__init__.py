"""InsightFace's training sets: records of dmlc's RecordIO (`train.rec`), read without MXNet."""
