"""The sweep on Ray Tune. The only folder of tune_app that imports ray."""
