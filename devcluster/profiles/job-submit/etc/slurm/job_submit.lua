-- A site that explains itself: jobs are refused with words, or changed with a notice.

function slurm_job_submit(job, partition, uid)
    if job.account == "unpaid" then
        slurm.log_user("account unpaid may not be used any more: ask your group for another one")
        slurm.log_user("see https://site.example/accounts")
        return slurm.ERROR
    end
    if job.account == "frozen" then
        slurm.user_msg("account frozen has no hours left this year")
        return slurm.ESLURM_INVALID_ACCOUNT or 2045
    end
    if job.name == "greedy" then
        job.name = "modest"
        slurm.log_user("greedy jobs are renamed to modest")
    end
    return slurm.SUCCESS
end

function slurm_job_modify(job, record, partition, uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
