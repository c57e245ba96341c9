"""The hostile corpus: real notebooks that attack the autograder, and honest ones that look odd.

    python -m tests.hostile [NAME...]            grade them with our engine, write build/reports/hostile.json
    python -m tests.hostile --stock [NAME...]    run the attacks on stock nbgrader, write stock.json beside this
"""
